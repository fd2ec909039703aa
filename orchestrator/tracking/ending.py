"""The end of a study's runs in MLflow, after a launch or after ``track``. Imports no mlflow."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from orchestrator.store.ranking import best
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Objective
from orchestrator.tracking.destination import note_tracking
from orchestrator.tracking.tracker import Tracker
from orchestrator.tracking.tracker_apart import TrackerApart
from trainable.evaluate.metrics.names import FINAL

PATIENCE_S = 600.0
"""How long MLflow may take for one step, such as a model."""


class EndOfRuns:
    """The end of a study's runs in MLflow: begun at once, it waits for nothing but the study's tables and report.

    Args:
        tracker: Has been told of the records.
        store: The study's directory.
        records: Trials of the study.
        objective: What is optimised, the first of several.
        whole: Whether nothing is left to run.
        hurried: Whether the launch was asked to stop, as it is now.
    """

    def __init__(
        self,
        tracker: Tracker | TrackerApart,
        store: Store,
        records: Sequence[Record],
        objective: Objective,
        *,
        whole: bool,
        hurried: Callable[[], bool] = lambda: False,
    ) -> None:
        self._tracker, self._store, self._whole, self._hurried = tracker, store, whole, hurried
        self._status, self._summary = parent_status(records, whole=whole), final_metrics_of_study(records, objective)
        self._tracker.begin_to_close(status=self._status, summary=self._summary, hurried=hurried)

    def wait(self) -> str | None:
        """Send the files too, which are now written, and note whether MLflow has everything.

        Returns:
            What MLflow could not take, in one line, or None.
        """
        tracker = self._tracker
        problem = tracker.close(status=self._status, summary=self._summary, patience=PATIENCE_S, hurried=self._hurried)
        with suppress(OSError):  # the storage failed: the next launch finds out by itself
            note_tracking(self._store, tracker.uri, complete=self._whole and problem is None, page=tracker.page)
        return problem


def parent_status(records: Sequence[Record], *, whole: bool) -> str:
    """MLflow's status of the parent run: KILLED where something is left to run, FAILED where every trial failed."""
    if not whole:
        return "KILLED"
    return "FAILED" if records and all(record.state is State.FAILED for record in records) else "FINISHED"


def final_metrics_of_study(records: Sequence[Record], objective: Objective) -> dict[str, float]:
    """Final metrics of the parent run: the last epoch's value of the best trial of the search, which made it that.

    Not its best epoch's: that of another trial may be better, and the tables would contradict.
    """
    top = best(records, objective)
    value = top.last(objective.metric) if top else None
    return {} if value is None else {f"{objective.metric}{FINAL}": value}
