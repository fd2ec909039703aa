"""A trial beside the one that it is to beat: `plain` in a search, in a comparison the baseline's run of that seed."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.text import Text

from orchestrator.store.ranking import SEEN, rival
from orchestrator.store.trial_record import Record
from orchestrator.studyfile import Objective


@dataclass(frozen=True)
class Distance:
    """How far a trial is from its rival at the same epoch."""

    difference: float
    """Its value minus the rival's."""
    better: bool | None
    """Whether that is what the objective asks for; None where the values are equal."""

    def __str__(self) -> str:
        """``+0.0371 better``: the word, because a sign alone does not say which direction is good."""
        return "equal" if self.better is None else f"{self.difference:+.4f} {'better' if self.better else 'worse'}"

    @property
    def style(self) -> str:
        """Its colour; the word says the same."""
        return "" if self.better is None else "green" if self.better else "red"

    @property
    def text(self) -> Text:
        """The same in colour."""
        return Text(str(self), style=self.style)


@dataclass(frozen=True)
class Rival:
    """Which trial others are compared with.

    Args:
        name: What it is called: a reference, or the baseline of a comparison.
        objective: What trials are compared by.
        number: Position among the references; None where the rival is the arm of that name.
    """

    name: str
    objective: Objective
    number: int | None = None

    @classmethod
    def among(cls, references: Iterable[str], objective: Objective) -> "Rival | None":
        """The reference that others are compared with: one without suppression, else the first; None without any."""
        names = list(references)
        name = rival(names)
        return None if name is None else cls(name, objective, names.index(name))

    def is_one(self, record: Record) -> bool:
        """Whether others are compared with this trial."""
        planned = record.planned
        if self.number is not None:
            return planned.kind == "reference" and planned.number == self.number
        return planned.arm == self.name

    def of(self, record: Record, records: Iterable[Record]) -> Record | None:
        """A trial's rival among the records; None where it has none, or is one."""
        rival = next((other for other in records if self._is(other, record)), None)
        return None if rival is None or rival.key == record.key else rival

    def distance(self, record: Record, records: Iterable[Record]) -> Distance | None:
        """How far a trial's last epoch is from the same epoch of its rival; None where that has not come so far."""
        value, epoch = record.last(self.objective.metric), len(record.epochs)
        rival = self.of(record, records) if value is not None else None
        if value is None or rival is None or len(rival.epochs) < epoch:
            return None
        other = rival.epochs[epoch - 1].get(self.objective.metric)
        return None if other is None else between(value, other, self.objective)

    def _is(self, other: Record, record: Record) -> bool:
        same = (other.planned.kind, other.planned.block) == (record.planned.kind, record.planned.block)
        return self.is_one(other) and (self.number is not None or same)


def between(value: float, other: float, objective: Objective) -> Distance:
    """How far one value is from another."""
    difference = value - other
    gain = difference if objective.mode == "max" else -difference
    return Distance(difference, None if abs(gain) < SEEN / 2 else gain > 0)


def direction(objective: Objective) -> str:
    """Which values are better, in words."""
    return "higher is better" if objective.mode == "max" else "lower is better"


def arrow(objective: Objective) -> str:
    """The same as a sign."""
    return "↑" if objective.mode == "max" else "↓"
