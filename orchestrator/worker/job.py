"""What crosses the door between driver and worker: a `Job` goes in, an `Outcome` of each step comes back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

from orchestrator.store.trial_record import Planned, Rung, Setback


@dataclass(frozen=True)
class Job:
    """All that a worker needs to run one trial."""

    planned: Planned
    storage: str
    study: str
    launch: str
    """Id of the launch: tells its attempts from those of earlier ones."""
    fit: str
    """``module:function`` that runs a trial; what it yields is a `FittedEpoch`."""
    gpu: float = 0
    """The trial's share of a node's GPUs."""
    ranks: int = 1
    """Processes that train it together, this worker's included."""
    rung: Rung = "shared"
    """How it uses them: where memory ran out before, otherwise than the study says."""
    probe: str | None = None
    """``module:function`` that measures the trial's peak of GPU memory, in place of running it."""
    threads: int = 1
    """Torch's, in each of them."""
    timeout_s: float | None = None
    """Longest time for an epoch; None is no limit."""
    backoff_s: float = 0
    """Wait after the first worker that this launch lost."""
    system_metrics: bool = False
    """Whether the machine is measured."""
    versions: Mapping[str, str] | None = None
    """Of the packages that must be equal everywhere; None checks nothing."""

    def __deepcopy__(self, memo: object) -> Self:
        """The same: nobody alters a job, and Ray Tune copies a trial's configuration several times."""
        return self

    def __repr__(self) -> str:
        """Short, as Ray Tune names and describes a trial by its configuration."""
        return f"Job({self.planned.key!r})"


@dataclass(frozen=True)
class AttemptBegan:
    """What a worker knows before its first epoch."""

    earlier: Sequence[Mapping[str, float]]
    """Metrics of the epochs before it."""
    notes: Sequence[str]
    """Lines for the user."""
    node: str = ""
    """Name of its host."""


@dataclass(frozen=True)
class EpochDone:
    """An epoch that was trained and kept."""

    epoch: int
    """Counted from 1."""
    metrics: Mapping[str, float]
    last: bool
    """Whether it is the trial's last."""
    began: AttemptBegan | None = None
    """With a worker's first epoch."""


@dataclass(frozen=True)
class Failed:
    """A trial that failed by itself."""

    reason: str


@dataclass(frozen=True)
class Interrupted:
    """A trial that the storage does not take, or that a machine ended; the next launch continues it."""

    reason: str


@dataclass(frozen=True)
class RanOut:
    """A trial whose GPU had no memory left for it; the driver knows how it may go on."""

    setback: Setback


@dataclass(frozen=True)
class Measured:
    """What a probe saw, in bytes."""

    peak: int
    """The most that the trial's tensors held."""
    total: int
    """What the GPU has."""


Outcome: TypeAlias = EpochDone | Failed | Interrupted
"""What becomes of a trial."""
WorkerOutcome: TypeAlias = Outcome | RanOut | Measured
"""What a worker's step may come to; of the last two the searcher makes what becomes of the trial."""
