"""Counts over all trials of a study, kept up to date: a display that counts anew would be slow with thousands."""

from collections import Counter

from orchestrator.store.trial_record import Record, State

LEAST_ENDED = 3
"""Trials that must have ended before the forecast takes from them how many epochs others will train."""


class Tally:
    """What is counted of the trials that a study runs itself; imported ones are left out."""

    def __init__(self) -> None:
        self.states: Counter[State] = Counter()
        """Trials by their states."""
        self.open: dict[str, Record] = {}
        """Trials that have begun and have no final state, in the order in which they began."""
        self.shared = 0
        """Epochs that trials took over from prefixes."""
        self._searched: Counter[State] = Counter()
        self._searched_epochs = 0

    @property
    def ended(self) -> int:
        """Trials with a final state."""
        return sum(count for state, count in self.states.items() if state.final)

    def replace(self, before: Record | None, record: Record) -> None:
        """Count a trial's latest record in place of the one before."""
        if before is not None:
            self._count(before, -1)
        self._count(record, 1)
        if record.planned.kind != "imported" and not record.state.final:
            self.open[record.key] = record
        else:
            self.open.pop(record.key, None)

    def expected_epochs(self, whole: int) -> float:
        """Epochs of a trial that has not begun: fewer than ``whole`` where trials of the search are stopped early."""
        tried = self._searched.total()
        if tried < LEAST_ENDED or tried == self._searched[State.COMPLETE]:
            return whole
        return self._searched_epochs / tried

    def _count(self, record: Record, by: int) -> None:
        self.shared += by * min(record.planned.inherited, len(record.epochs))
        if record.planned.kind == "imported":
            return
        self.states[record.state] += by
        if record.planned.kind == "search" and record.state in (State.COMPLETE, State.PRUNED):
            self._searched[record.state] += by
            self._searched_epochs += by * len(record.epochs)
