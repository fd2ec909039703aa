"""The ``confirm`` and ``ablation`` sections of a study file: which configurations are compared on paired seeds."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias, assert_never, get_args

from pydantic import Field, JsonValue

from orchestrator.studyfile.sections.looks import Seeds
from trainable.presets import Preset
from trainable.section import BY_NAME, NAME_ALONE, Section, Seed

MOST_RUNS = 100_000
"""Of a comparison: every run is a folder, and whatever continues a study reads all of them."""
Values: TypeAlias = Mapping[str, JsonValue]
"""Settings of a trial by their dotted paths, as plain JSON."""
Levels: TypeAlias = tuple[JsonValue, ...]
"""The levels of a factor."""


class ConfirmSection(Section):
    """Repeat the best configurations of the search and the reference trials, all on the same fresh seeds."""

    top: Annotated[int, Field(ge=1, le=1000)] = 3
    """Configurations of the search that are repeated, the best ones; of several objectives they are spread over the
    Pareto front, from the best in the first objective to the best in the last."""
    seeds: Seeds = 8
    """Fresh seeds, derived from search.seed; every configuration runs once on each. {looks: [6, 8, 12, 16]} runs them
    in steps, and stops what is decided."""


class LeaveOneOut(Section):
    """The baseline, and the baseline without one of its components: one factor at another of its levels."""

    name: Literal["leave_one_out"]


class OneAtATime(Section):
    """The baseline, and every other level of each factor alone."""

    name: Literal["one_at_a_time"]


class Factorial(Section):
    """Every combination of the factors' levels."""

    name: Literal["factorial"]


class Fractional(Section):
    """A fraction of the combinations of factors with two levels each, the smallest of its resolution."""

    name: Literal["fractional"]
    resolution: Literal[3, 4, 5]
    """3: main effects may be mixed up with interactions of two factors; 4: only those with each other; 5: neither."""


class AblationPath(Section):
    """From the baseline to the target, the better change first (ablation paths, Fawcett & Hoos 2016)."""

    name: Literal["path"]
    target: dict[str, JsonValue]
    """Level of each factor, by dotted path, where the path ends."""


class Arms(Section):
    """The named arms of ``arms``."""

    name: Literal["arms"]


Design: TypeAlias = Annotated[
    LeaveOneOut | OneAtATime | Factorial | Fractional | AblationPath | Arms, BY_NAME, NAME_ALONE
]


def count_arms(design: Design, levels: Sequence[int]) -> int:
    """Arms of a design over factors with so many levels each, at most: the baseline may be one of them."""
    match design:
        case LeaveOneOut() | OneAtATime():
            return 1 + sum(levels)
        case Factorial():
            return math.prod(levels)
        case AblationPath():
            return 1 + len(levels) * (len(levels) + 1) // 2
        case Fractional() | Arms():  # few factors; named one by one
            return 0
        case _:
            assert_never(design)


class AblationSection(Section):
    """Compare designed arms on paired seeds."""

    design: Design
    """Which arms: leave_one_out, one_at_a_time, factorial, {name: fractional, resolution: 4}, {name: path, target:
    {...}}, all of ``factors``; or arms."""
    baseline: JsonValue = None
    """What the arms are compared with: values by dotted path ({suppression.alpha: 0.3}, {preset: full}), {best: STUDY}
    (of another study in the same storage) or winner (of this file's own search). null: winner, else the trial as
    written."""
    factors: dict[str, JsonValue] = Field(default_factory=dict)
    """Levels of each factor, by the dotted path of a setting of the trial."""
    arms: JsonValue = None
    """Presets by name ([plain, full]), or a mapping from names to a preset or to values by dotted path."""
    seeds: Seeds = 8
    """Paired blocks: every arm runs once on each seed. {looks: [6, 8, 12, 16]} runs them in steps, and stops an arm
    that is shown to differ or has little hope to be."""
    seed: Seed = 0
    """The seeds of the blocks derive from it."""

    def read_baseline(self, *, searched: bool) -> "Baseline":
        """What the arms are compared with.

        Raises:
            ValueError: the baseline is none; the message gives the rule.
        """
        match self.baseline:
            case None:
                return Winner() if searched else Written({})
            case "winner":
                return Winner()
            case {"best": str(study), **others} if not others:
                return BestOf(study)
            case dict(values):
                return Written(values)
        meant = self.baseline if self.baseline in get_args(Preset) else None
        hint = f"; of a preset write {{preset: {meant}}}" if meant else ""
        raise ValueError(f"expected winner, {{best: STUDY}} or a mapping of dotted paths to values{hint}")

    def read_factors(self) -> dict[str, Levels]:
        """Levels by dotted path; nested mappings, as ``--set`` makes them, are paths too.

        Raises:
            ValueError: levels that are no list; the message names the factor.
        """
        return dict(_levels(self.factors, ""))

    def read_arms(self) -> dict[str, Values]:
        """Values of each named arm.

        Raises:
            ValueError: no arms; the message gives the rule.
        """
        match self.arms:
            case None:
                return {}
            case list(names) if all(isinstance(name, str) for name in names):
                return {str(name): {"preset": name} for name in names}
            case dict(arms) if all(isinstance(values, str | dict) for values in arms.values()):
                return {
                    name: values if isinstance(values, dict) else {"preset": values} for name, values in arms.items()
                }
        raise ValueError("expected a list of presets, or a mapping of names to a preset or to values by dotted path")


@dataclass(frozen=True)
class Written:
    """The trial as the study file writes it, some values replaced."""

    values: Values


@dataclass(frozen=True)
class BestOf:
    """The best complete trial of another study in the same storage, the confirmed one where it confirms."""

    study: str


@dataclass(frozen=True)
class Winner:
    """The best trial of this study's own search, the confirmed one where it confirms."""


Baseline: TypeAlias = Written | BestOf | Winner


def _levels(factors: Mapping[str, JsonValue], prefix: str) -> Iterator[tuple[str, Levels]]:
    for key, levels in factors.items():
        if isinstance(levels, dict):
            yield from _levels(levels, f"{prefix}{key}.")
        elif isinstance(levels, list):
            yield f"{prefix}{key}", tuple(levels)
        else:
            raise ValueError(f"{prefix}{key}: expected a list of levels, got {levels!r}")
