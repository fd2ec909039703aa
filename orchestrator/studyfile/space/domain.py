"""The domains of a search space: what may stand in place of a value. Invalid domains cannot be built."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from trainable.configfile.node import Scalar

Value: TypeAlias = Scalar
"""What is picked from a domain: a number, or the label of an option."""
Tree: TypeAlias = "Scalar | list[Tree] | dict[str, Tree] | Domain"
"""A trial's configuration in which some values are domains."""


MOST_OPTIONS = 1000
"""Of a choice: nobody waits for more, and each is checked with those of every other choice."""
MOST_VALUES = 1_000_000
"""Of a real domain with a step: a finer grid is a continuous domain."""
SMALLEST_LOG = 1e-30
"""Lower end of a logarithmic domain: trials calculate in float32, which ends at 1e-38."""


@dataclass(frozen=True)
class Float:
    """Real numbers from ``low`` to ``high``, both included; with a step, those on the grid that starts at ``low``."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, self.log, self.step)
        if self.step is not None and (self.high - self.low) / self.step > MOST_VALUES:
            raise ValueError(f"step {self.step} leaves more than {MOST_VALUES} values; leave it out")

    def contains(self, value: Scalar) -> bool:
        """Whether a value lies in the domain; on a grid, up to rounding."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        return self.step is None or abs(value - self.snap(value)) <= 1e-9 * self.step

    def snap(self, value: float) -> float:
        """The nearest value of the domain, written as the grid writes it: 0.3, not 0.1 + 0.1 + 0.1."""
        value = min(max(value, self.low), self.high)
        return float(value) if self.step is None else self._at(round((value - self.low) / self.step), self.step)

    def values(self) -> Iterator[float] | None:
        """All values of a grid; None without a step."""
        if self.step is None:
            return None
        step = self.step
        return (self._at(index, step) for index in range(round((self.high - self.low) / step) + 1))

    def center(self) -> float:
        """The middle; of a log domain the geometric one."""
        return self.snap(_middle(self.low, self.high, self.log))

    def _at(self, index: int, step: float) -> float:
        return float(_exact(self.low) + index * _exact(step))


@dataclass(frozen=True)
class Int:
    """Whole numbers from ``low`` to ``high``, both included, in steps."""

    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, self.log, None if self.log and self.step == 1 else self.step)

    def contains(self, value: Scalar) -> bool:
        """Whether a value lies in the domain; a float does if it is whole."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        return (value - self.low) % self.step == 0

    def snap(self, value: float) -> int:
        """The nearest value of the domain."""
        value = min(max(value, self.low), self.high)
        return self.low + round((value - self.low) / self.step) * self.step

    def values(self) -> Iterator[int]:
        """All values, in order."""
        return iter(range(self.low, self.high + 1, self.step))

    def center(self) -> int:
        """The middle; of a log domain the geometric one."""
        return self.snap(_middle(self.low, self.high, self.log))


@dataclass(frozen=True)
class Choice:
    """One of several options. Options that are lists or mappings may hold domains of their own."""

    options: "tuple[Tree, ...]"
    labels: tuple[Value, ...]
    """A primitive name of each option; no two are equal, and 1, 1.0 and true count as equal."""

    def __post_init__(self) -> None:
        if not self.options:
            raise ValueError("choice needs at least one option")
        if len(self.options) > MOST_OPTIONS:
            raise ValueError(f"choice has {len(self.options)} options; at most {MOST_OPTIONS}")
        for index, label in enumerate(self.labels):
            if label in self.labels[:index]:
                raise ValueError(f"choice lists the option {label!r} twice")

    def option(self, label: Value) -> Tree:
        """The option with a label.

        Raises:
            ValueError: no option has this label.
        """
        if label not in self.labels:
            raise ValueError(f"{label!r} is no option; one of {', '.join(map(repr, self.labels))}")
        return self.options[self.labels.index(label)]


Domain: TypeAlias = Float | Int | Choice


def _check_range(low: float, high: float, log: bool, step: float | None) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"the bounds must be finite, got [{low}, {high}]")
    if low >= high:
        raise ValueError(f"low must be below high, got [{low}, {high}]")
    if log and low < SMALLEST_LOG:
        raise ValueError(f"a logarithmic domain needs low {'> 0' if low <= 0 else f'>= {SMALLEST_LOG:g}'}, got {low}")
    if step is None:
        return
    if log:
        raise ValueError("a logarithmic domain has no step")
    if not (math.isfinite(step) and step > 0):
        raise ValueError(f"step must be > 0, got {step}")
    if (_exact(high) - _exact(low)) % _exact(step):
        raise ValueError(f"step {step} must divide the range from {low} to {high}, so that {high} is reached")


def _exact(number: float) -> Fraction:
    """The number as it is written: 1/10 for 0.1."""
    return Fraction(str(number))


def _middle(low: float, high: float, log: bool) -> float:
    return math.sqrt(low) * math.sqrt(high) if log else low / 2 + high / 2
