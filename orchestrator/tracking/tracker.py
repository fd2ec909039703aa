"""The thread that keeps MLflow in step with the records; nobody waits for it.

It works from records and not from events: the study's directory is the queue that an outage fills, and what MLflow
lacks of a record is worked out when it answers again. In memory there is one record per trial at most.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.errors import in_short
from orchestrator.store.addresses import redacted
from orchestrator.store.trial_record import Record
from orchestrator.tracking.side_by_side import side_by_side
from orchestrator.tracking.study_info import StudyInfo
from orchestrator.tracking.told_trials import ToldTrials

if TYPE_CHECKING:
    from orchestrator.tracking.runs import StudyRuns

LOCAL_UI = "http://127.0.0.1:5000"
"""Where ``mlflow ui`` serves its pages."""
RETRY_SECONDS = 5.0
POLL_SECONDS = 0.1
TOGETHER_SECONDS = 1.0
"""What happens in this time is written together: one request for a trial, and one wait for the disk for all of them."""
HURRIED_SECONDS = 15.0
"""How long MLflow may take for one step at the end of a launch that was stopped."""
MOST_RECORDS = 32
"""Trials that are written together: what is written of them when one fails is looked for again."""
LAST_TRIES, LAST_TRY_SECONDS = 3, 1.0
"""Attempts of the last writing, and the time between them, before what is left stays for the next launch."""


@dataclass
class _Inbox:
    """Latest records by key, handed from the driver to the writing thread."""

    changed: dict[str, Record] = field(default_factory=dict)
    times: dict[str, list[int]] = field(default_factory=dict)
    """When each epoch of a trial became known, in milliseconds."""
    closing: bool = False
    wake: threading.Condition = field(default_factory=threading.Condition)

    def next(self) -> list[tuple[Record, list[int]]]:
        """Some of the records, the first that came in, with the times of their epochs."""
        with self.wake:
            return [(self.changed[key], list(self.times[key])) for key in list(self.changed)[:MOST_RECORDS]]

    def done(self, records: Iterable[Record]) -> None:
        """Forget records that are written, but for what has become of them since."""
        with self.wake:
            for record in records:
                if self.changed.get(record.key) is record:
                    del self.changed[record.key]


class Tracker:
    """Writes the latest record of every trial to MLflow; a ``Listener`` of the session."""

    def __init__(self, uri: str, study: StudyInfo) -> None:
        self.uri = uri
        """Server or database that is told."""
        self._study = study
        self._inbox = _Inbox()
        self._runs: StudyRuns | None = None
        self._told = ToldTrials(study)
        self._sent: dict[str, int] = {}
        self._to_file: dict[str, Record] = {}
        self._refused: dict[str, str] = {}
        self._missing: dict[str, tuple[str, Callable[[StudyRuns], object]]] = {}
        self._problem: str | None = None
        self._drawn = False
        self._wrote_at = time.monotonic()
        self._together_until = -math.inf
        self._hurried: Callable[[], bool] = lambda: False
        self._ending: tuple[str, Mapping[str, float]] = ("FINISHED", {})
        self._files_written = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def update(self, record: Record, at: float | None = None) -> None:
        """Take note of a trial's latest record, which became known ``at`` this time or now; returns at once."""
        now = int((time.time() if at is None else at) * 1000)
        with self._inbox.wake:
            self._inbox.changed[record.key] = record
            times = self._inbox.times.setdefault(record.key, [])
            times.extend([now] * (len(record.epochs) - len(times)))
            self._inbox.wake.notify()

    def expect_end(self, best: Record | None) -> None:
        """Prepare for the end of a launch that runs all that is left, and whose best trial is known by now."""
        self._study.expect_model(best)

    @property
    def behind(self) -> int:
        """Epochs that MLflow lacks."""
        with self._inbox.wake:
            waiting = {key: len(r.epochs) - self._sent.get(key, 0) for key, r in self._inbox.changed.items()}
        return sum(max(0, count) for count in waiting.values())

    @property
    def lag(self) -> str | None:
        """How far MLflow is behind and why, in one line; None while it keeps up."""
        problem = self._problem
        if problem is None:
            return None
        trials = len(self._inbox.changed)
        return redacted(f"MLflow is behind by {self.behind} epochs of {trials} trials ({problem})")

    def begin_to_close(self, *, status: str, summary: Mapping[str, float], hurried: Callable[[], bool]) -> None:
        """Begin to write what is left; the tables and figures of the study follow at `close`, as its arguments do."""
        with self._inbox.wake:
            if not self._inbox.closing:
                self._ending, self._hurried = (status, summary), hurried
                self._wrote_at = time.monotonic()
            self._inbox.closing = True
            self._inbox.wake.notify()

    def close(
        self,
        *,
        status: str,
        summary: Mapping[str, float],
        patience: float = 600,
        hurried: Callable[[], bool] = lambda: False,
    ) -> str | None:
        """Write what is left, then end the parent run; called once more, wait for the same end.

        Args:
            status: MLflow status of the parent run: FINISHED, FAILED or KILLED. A study that was stopped early gets
                its tables and pictures by the launch that ends it.
            summary: Final metrics of the parent run.
            patience: Seconds without any progress after which what is left stays for the next launch.
            hurried: Whether the launch was asked to stop, as it is now: files, tables and the model then stay for the
                next launch.

        Returns:
            One line about what could not be written, or None.
        """
        self.begin_to_close(status=status, summary=summary, hurried=hurried)
        self._files_written.set()
        while self._thread.is_alive() and self._waited() < (HURRIED_SECONDS if hurried() else patience):
            self._thread.join(0.2)
        if self._thread.is_alive() or self._problem:
            behind = f"MLflow at {self.uri} is behind: {self._problem or 'no answer'}; the records hold everything"
            return redacted(behind)
        return redacted("; ".join(self._shortcomings())) or None

    def _waited(self) -> float:
        """Seconds without any progress."""
        return time.monotonic() - self._wrote_at

    @property
    def page(self) -> str | None:
        """Address of the study's charts in MLflow's pages, once the experiment is known."""
        if self._runs is None:
            return None
        from orchestrator.tracking.views import views

        server = redacted(self.uri.rstrip("/")) if self.uri.startswith("http") else LOCAL_UI
        return views(self._study)[0].address(self._runs.experiment_id, f"{server}/")

    def _shortcomings(self) -> list[str]:
        """What MLflow answered to and yet does not have."""
        lines = [f"MLflow has no {what}: {why}" for what, (why, _) in self._missing.items()]
        if self._refused:
            key, reason = next(iter(self._refused.items()))
            lines.append(f"MLflow refused {len(self._refused)} trials, {key} because {reason}")
        return lines

    def _work(self) -> None:
        with closing(self._study):
            self._write_until_closed()

    def _write_until_closed(self) -> None:
        tries = 0
        while tries < LAST_TRIES:
            with self._inbox.wake:
                self._inbox.wake.wait_for(lambda: self._inbox.changed or self._to_file or self._inbox.closing)
                closing = self._inbox.closing
            try:
                self._write()
                if closing:
                    self._write_last()
                    return
            except Exception as error:  # MLflow in trouble must never be the study's trouble
                self._problem = in_short(error)
                self._runs = None  # what of the last request arrived is read anew
                tries += closing
                if closing:
                    time.sleep(LAST_TRY_SECONDS)
                else:
                    self._pause(RETRY_SECONDS)

    def _pause(self, seconds: float) -> None:
        """Wait, but for the end of the study."""
        with self._inbox.wake:
            self._inbox.wake.wait_for(lambda: self._inbox.closing, seconds)

    def _write(self) -> None:
        """Write all records at hand now and then, and the files of a few trials meanwhile."""
        runs = self._connected()
        left = 0.0 if self._inbox.closing else self._together_until - time.monotonic()
        if self._to_file and (left > 0 or not self._inbox.changed):
            self._write_files(runs.connections)
        elif left > 0:
            self._pause(left)
        if left > 0:
            return
        while records := self._inbox.next():
            with runs.transactions.joined():
                side_by_side(lambda known: self._sync(runs, *known), records, runs.connections)
            self._inbox.done(record for record, _ in records)
        self._together_until = time.monotonic() + TOGETHER_SECONDS
        self._problem = None
        if not self._drawn and not self._hurried():
            self._drawn = True  # one attempt per launch: a store of artifacts may lack what metrics do not need
            self._try("pictures of the data", lambda runs: runs.log_pictures())

    def _connected(self) -> "StudyRuns":
        if self._runs is None:
            from orchestrator.tracking.runs import StudyRuns  # late, and in this thread: mlflow takes 2 s to import

            self._runs = StudyRuns(self.uri, self._study, self._told)
        return self._runs

    def _sync(self, runs: "StudyRuns", record: Record, times: list[int]) -> None:
        from orchestrator.tracking.runs import is_refusal

        try:
            runs.sync(record, times)
        except Exception as error:
            if not is_refusal(error):
                raise
            self._refused[record.key] = in_short(error)  # the others must not wait for it
            return
        self._wrote_at = time.monotonic()
        self._refused.pop(record.key, None)
        self._sent[record.key] = len(record.epochs)
        if runs.lacks_files(record):
            self._to_file[record.key] = record

    def _write_last(self) -> None:
        status, summary = self._ending
        for write in self._rest() if status != "KILLED" else ():
            if self._hurried():
                self._missing["files and tables"] = "the launch was stopped", lambda _: None
                break
            write()
        if not self._hurried():  # behind the tables that they are made from
            self._try("descriptions", lambda runs: runs.log_descriptions())
        self._connected().finish(status, summary)

    def _rest(self) -> Iterator[Callable[[], None]]:
        """What a stop leaves to the next launch, piece by piece; what failed comes once more."""
        while self._to_file:
            yield partial(self._write_files, self._connected().connections)
        yield partial(self._try, "model", lambda runs: runs.log_model())
        while not self._files_written.wait(POLL_SECONDS) and not self._hurried():
            pass
        yield partial(self._try, "tables and figures of the study", lambda runs: runs.log_study())
        for what, (_, write) in list(self._missing.items()):
            yield partial(self._try, what, write)

    def _write_files(self, trials: int) -> None:
        """Write the files of some trials, which are each tried once here."""
        records = [self._to_file.pop(key) for key in list(self._to_file)[:trials]]
        side_by_side(lambda of: self._try(f"files of {of.key}", lambda runs: runs.log_files(of)), records, trials)

    def _try(self, what: str, write: Callable[["StudyRuns"], object]) -> None:
        """Write what may be missing: it is tried once more at the end, and by the next launch."""
        try:
            write(self._connected())
        except Exception as error:
            self._missing[what] = in_short(error), write
        else:
            self._missing.pop(what, None)
        self._wrote_at = time.monotonic()
