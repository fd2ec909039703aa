"""A `TrialSource` over a list of runs that are known beforehand: nothing is suggested or pruned."""

from collections import deque
from collections.abc import Mapping, Sequence

from orchestrator.plan.trial_source import judged
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Objective
from trainable.configfile.node import JsonObject


class FixedPlanner:
    """Hands out a list of runs.

    Args:
        runs: What is still to run, in order.
        total: Runs of the stage, those that ended included.
        objectives: Metrics without which a run is failed.
    """

    def __init__(self, runs: Sequence[Planned], total: int, objectives: Sequence[Objective]) -> None:
        self._queue = deque(runs)
        self._objectives = objectives
        self.total = total

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to hand out."""
        return not self._queue

    @property
    def objective(self) -> Objective:
        """What trials are compared by; the first of several."""
        return self._objectives[0]

    def next(self) -> Planned | None:
        """The next run, or None when all have been handed out."""
        return self._queue.popleft() if self._queue else None

    def report(self, _planned: Planned, _epoch: int, _metrics: Mapping[str, float]) -> bool:
        """Every run goes to its end: stopping some of a block early would bias the comparison."""
        return False

    def verdict(self, record: Record) -> Record | None:
        """How a run ended whose worker went on while nobody listened; None where it has to run further."""
        return record.ended(State.COMPLETE) if record.whole else None

    def notes(self, _planned: Planned) -> JsonObject:
        """A later launch needs to know nothing."""
        return {}

    def settle(self, record: Record) -> tuple[Record, JsonObject] | None:
        """Give a run of an earlier launch the verdict that nobody gave it; None where it has to run further."""
        ended = self.verdict(record)
        if ended is None:
            return None
        self._queue = deque(planned for planned in self._queue if planned.key != record.key)
        return self.finish(ended)

    def finish(self, record: Record) -> tuple[Record, JsonObject]:
        """The record, ``failed`` instead of ``complete`` where an objective has no value."""
        return judged(record, self._objectives), {}

    def better(self, _record: Record, _than: Record | None) -> bool:
        """No run of a comparison keeps its checkpoint: the search's best one does."""
        return False
