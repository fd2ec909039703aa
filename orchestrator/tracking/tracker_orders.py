"""What a launch tells the process that keeps MLflow in step, and what that answers."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.store.trial_record import Record


@dataclass(frozen=True)
class Told:
    """A trial's latest record, but for its first epochs, which are known."""

    record: Record
    known: int
    at: float
    """When it became known, in seconds."""


@dataclass(frozen=True)
class ExpectEnd:
    """The best trial by now; others will hardly follow."""

    best: Record | None


@dataclass(frozen=True)
class BeginToClose:
    """As ``Tracker.begin_to_close`` is called."""

    status: str
    summary: Mapping[str, float]


@dataclass(frozen=True)
class Close:
    """As ``Tracker.close`` is called."""

    patience: float


class Hurry:
    """The launch was asked to stop."""


Order = Told | ExpectEnd | BeginToClose | Close | Hurry


@dataclass(frozen=True)
class Status:
    """What the launch shows of MLflow."""

    page: str | None = None
    lag: str | None = None
    behind: int = 0
    closed: bool = False
    problem: str | None = None
    """What could not be written, once it is closed."""
