"""The errors of a trial that cannot go on. Imports no torch."""

from dataclasses import dataclass

GIB = 2**30


class TrialFailed(Exception):
    """The trial cannot go on; one line with the reason and, where there is one, the way out."""


@dataclass(frozen=True)
class MemoryUse:
    """The memory of a GPU when a process asked for more than it got; all in bytes."""

    peak: int
    """What the process would have held with what it asked for, or the most that it ever held."""
    cap: int
    """What it may hold: its share of the GPU, less its CUDA context."""
    free: int
    """What nobody holds."""
    total: int
    """What the GPU has."""
    by_others: bool = False
    """Whether others hold memory that the process may still take: the fault is not its own."""

    def __str__(self) -> str:
        parts = f"peak {_gib(self.peak)}, allowed {_gib(self.cap)}, free {_gib(self.free)} of {_gib(self.total)} GiB"
        return f"{parts}; other processes hold what was its own" if self.by_others else parts


class OutOfMemory(TrialFailed):
    """The GPU has no memory left for the trial; ``use`` is None where it could not be measured."""

    def __init__(self, where: str, use: MemoryUse | None, advice: str) -> None:
        super().__init__(where, use, advice)  # as they are: errors travel between processes
        self.where, self.use, self.advice = where, use, advice

    def __str__(self) -> str:
        measured = f" ({self.use})" if self.use else ""
        return f"{self.where}: the GPU is out of memory{measured}; {self.advice}"


def _gib(count: int) -> str:
    return f"{count / GIB:.2f}"
