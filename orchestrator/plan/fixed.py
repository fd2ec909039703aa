"""A `TrialSource` over a list of runs that are known beforehand: nothing is suggested or pruned."""

from collections import deque
from collections.abc import Sequence

from orchestrator.plan.trial_source import Need, TrialSource
from orchestrator.store.trial_record import Planned
from orchestrator.studyfile import Objective


class FixedPlanner(TrialSource):
    """Hands out a list of runs.

    Every run goes to its end: stopping some of a block early would bias the comparison. No run keeps its checkpoint:
    the search's best one does.

    Args:
        runs: What is still to run, in order.
        total: Runs of the stage, those that ended included.
        objectives: Metrics without which a run is failed.
    """

    def __init__(self, runs: Sequence[Planned], total: int, objectives: Sequence[Objective]) -> None:
        self._queue = deque(runs)
        self._begun: set[int | None] = set()
        self.total, self.objectives = total, objectives

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to hand out."""
        return not self._queue

    def next(self) -> Planned | None:
        """The next run, or None when all have been handed out."""
        if not self._queue:
            return None
        planned = self._queue.popleft()
        self._begun.add(planned.block)
        return planned

    @property
    def need(self) -> Need:
        """The runs of the next one's block; nothing more where the block has begun. A run of no block stands alone."""
        if not self._queue:
            return Need(0, 0)
        block = self._queue[0].block
        if block is None:
            return _need([self._queue[0]])
        return Need(0, 0) if block in self._begun else _need([run for run in self._queue if run.block == block])

    def withdraw(self, key: str) -> None:
        """Hand out a run of an earlier launch no more."""
        self._queue = deque(planned for planned in self._queue if planned.key != key)


def _need(runs: Sequence[Planned]) -> Need:
    return Need(len(runs), sum(run.epochs for run in runs), tuple(run.key for run in runs))
