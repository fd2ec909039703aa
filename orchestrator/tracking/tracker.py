"""The thread that keeps MLflow in step with the records; nobody waits for it."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.objects import redacted
from orchestrator.records import Record
from orchestrator.tracking.study_info import StudyInfo

if TYPE_CHECKING:
    from orchestrator.tracking.runs import StudyRuns

LOCAL_UI = "http://127.0.0.1:5000"
"""Where ``mlflow ui`` serves its pages."""
START_SECONDS = 10.0
"""How long the first workers have the processor to themselves: MLflow takes 4 s of it for its import and database."""
RETRY_SECONDS = 5.0


@dataclass
class _Inbox:
    """Latest records by key, handed from the driver to the writing thread."""

    changed: dict[str, Record] = field(default_factory=dict)
    closing: bool = False
    wake: threading.Condition = field(default_factory=threading.Condition)

    def urgent(self) -> bool:
        """Whether there is more to write than that trials start."""
        return self.closing or any(record.epochs for record in self.changed.values())


class Tracker:
    """Writes the latest record of every trial to MLflow; a ``Listener`` of the session.

    It works from records and not from events: an entry that could not be written stays in the inbox and is written
    later, whatever came in between.

    Args:
        uri: MLflow tracking URI.
        study: The study.
    """

    def __init__(self, uri: str, study: StudyInfo) -> None:
        self._uri = uri
        self._study = study
        self._inbox = _Inbox()
        self._runs: StudyRuns | None = None
        self._ending: tuple[str, Mapping[str, float]] = ("FINISHED", {})
        self._problem: str | None = None
        self._without_pictures: str | None = None
        self._drawn = False
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def update(self, record: Record) -> None:
        """Take note of a trial's latest record; returns at once."""
        with self._inbox.wake:
            self._inbox.changed[record.key] = record
            self._inbox.wake.notify()

    def close(self, *, status: str, summary: Mapping[str, float], timeout: float = 60) -> str | None:
        """Write what is left, then end the parent run.

        Args:
            status: MLflow status of the parent run: FINISHED, FAILED or KILLED.
            summary: Final metrics of the parent run.
            timeout: Seconds to wait for MLflow.

        Returns:
            One line about what could not be written, or None.
        """
        self._ending = (status, summary)
        with self._inbox.wake:
            self._inbox.closing = True
            self._inbox.wake.notify()
        self._thread.join(timeout)
        if self._thread.is_alive() or self._problem:
            behind = f"MLflow at {self._uri} is behind: {self._problem or 'no answer'}; the records hold everything"
            return redacted(behind)
        return redacted(self._without_pictures) if self._without_pictures else None

    @property
    def page(self) -> str | None:
        """Address of the table of runs in MLflow's pages, once the experiment is known."""
        if self._runs is None:
            return None
        server = redacted(self._uri.rstrip("/")) if self._uri.startswith("http") else LOCAL_UI
        return f"{server}/#/experiments/{self._runs.experiment_id}/runs?workflowType=machine_learning"

    def _work(self) -> None:
        closing = False
        with self._inbox.wake:
            self._inbox.wake.wait_for(self._inbox.urgent, timeout=START_SECONDS)
        while not closing:
            with self._inbox.wake:
                self._inbox.wake.wait_for(lambda: self._inbox.changed or self._inbox.closing)
                batch, self._inbox.changed = self._inbox.changed, {}
                closing = self._inbox.closing
            try:
                self._write(batch, closing)
                self._problem = None
            except Exception as error:  # MLflow in trouble must never be the study's trouble
                self._problem = _one_line(error)
                with self._inbox.wake:
                    self._inbox.changed = batch | self._inbox.changed
                if not closing:
                    time.sleep(RETRY_SECONDS)

    def _write(self, batch: Mapping[str, Record], closing: bool) -> None:
        if self._runs is None:
            from orchestrator.tracking.runs import StudyRuns  # late, and in this thread: mlflow takes 2 s to import

            self._runs = StudyRuns(self._uri, self._study)
        for record in batch.values():
            self._runs.sync(record)
        if not self._drawn:
            self._drawn = True  # one attempt per launch: a store of artifacts may lack what metrics do not need
            try:
                self._runs.log_pictures()
            except Exception as error:  # nor may a picture
                self._without_pictures = f"MLflow has no pictures of the data: {_one_line(error)}"
        if closing:
            self._runs.finish(*self._ending)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
