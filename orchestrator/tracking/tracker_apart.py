"""A launch's tracker in a process of its own: MLflow's work takes no time of the driver's, nor its memory."""

import json
import pickle
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import IO

from orchestrator.errors import in_short
from orchestrator.store.addresses import redacted
from orchestrator.store.trial_record import Record
from orchestrator.tracking.study_info import StudyInfo
from orchestrator.tracking.tracker import HURRIED_SECONDS, LAST_TRIES, POLL_SECONDS, RETRY_SECONDS
from orchestrator.tracking.tracker_orders import BeginToClose, Close, ExpectEnd, Hurry, Order, Status, Told
from trainable.program import start_module

MODULE = "orchestrator.tracking.tracker_process"
TOGETHER_SECONDS = 0.05
"""What happens in this time is told together."""
SILENT_SECONDS = 10.0
"""How much longer than MLflow the process that tells it may take for a word: it says one each second."""
LEAVING_SECONDS = 2.0
"""How long the process may take to end once MLflow has everything."""


class LoadingProcess:
    """A process that loads MLflow until a ``TrackerApart`` takes it; `close` ends one that none took.

    Raises:
        OSError: no process can be started.
    """

    def __init__(self) -> None:
        self._words = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - closed by `close`
        self.process = start_module(MODULE, stderr=self._words, process_group=0)  # Ctrl-C is for the launch
        self.taken = False

    def close(self) -> None:
        """End it, unless it is taken."""
        if not self.taken:
            self.process.kill()
            self.ended()

    def ended(self) -> str:
        """End it, where it has not ended; returns how, in words."""
        code = _ended(self.process)
        with self._words as words:
            words.seek(0)
            last = (words.read().strip().splitlines() or [""])[-1]
        return f"the process that tells it ended with {code}{last and f': {last}'}"


class TrackerApart:
    """As a ``Tracker``, but what it does happens in a process of its own; one that dies is started anew.

    ``process`` is loading already; None starts one.
    """

    def __init__(self, uri: str, study: StudyInfo, process: LoadingProcess | None = None) -> None:
        if process is not None:
            process.taken = True
        self._process = process
        self.uri = uri
        """Server or database that is told."""
        self._study = study
        self._wake = threading.Condition()
        self._records: dict[str, Record] = {}
        self._changed: dict[str, float] = {}
        """When the records to be told became known, in seconds."""
        self._orders: list[Order] = []
        """What else is to be told, in order; once more to a process that takes the place of a dead one."""
        self._untold: list[Order] = []
        self._hurried: Callable[[], bool] = lambda: False
        self._status = Status()
        self._heard_at = time.monotonic()
        self._given_up = False
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def update(self, record: Record) -> None:
        """Take note of a trial's latest record; returns at once."""
        with self._wake:
            self._records[record.key] = record
            self._changed[record.key] = time.time()
            self._wake.notify()

    def expect_end(self, best: Record | None) -> None:
        """Prepare for the end of a launch that runs all that is left, and whose best trial is known by now."""
        self._order(ExpectEnd(best))

    @property
    def lag(self) -> str | None:
        """How far MLflow is behind and why, in one line; None while it keeps up."""
        return self._status.lag

    @property
    def behind(self) -> int:
        """Epochs that MLflow lacks."""
        return self._status.behind

    @property
    def page(self) -> str | None:
        """Address of the study's charts in MLflow's pages, once the experiment is known."""
        return self._status.page

    def begin_to_close(self, *, status: str, summary: Mapping[str, float], hurried: Callable[[], bool]) -> None:
        """Begin to write what is left; the tables and figures of the study follow at `close`, as its arguments do."""
        if not self._is_ordered(BeginToClose):
            self._hurried = hurried
            self._order(BeginToClose(status, summary))

    def close(
        self,
        *,
        status: str,
        summary: Mapping[str, float],
        patience: float = 600,
        hurried: Callable[[], bool] = lambda: False,
    ) -> str | None:
        """Write what is left, then end the parent run; called once more, wait for the same end. As ``Tracker.close``.

        Returns:
            One line about what could not be written, or None.
        """
        self.begin_to_close(status=status, summary=summary, hurried=hurried)
        if not self._is_ordered(Close):
            self._order(Close(patience))
        while self._thread.is_alive() and not self._given_up:
            self._hurry_if(hurried())
            self._thread.join(POLL_SECONDS)
            silent_s = time.monotonic() - self._heard_at
            self._given_up = silent_s > SILENT_SECONDS + (HURRIED_SECONDS if hurried() else patience)
        return self._behind("no answer") if self._given_up else self._status.problem

    def _behind(self, why: str) -> str:
        return redacted(f"MLflow at {self.uri} is behind: {why}; the records hold everything")

    def _order(self, order: Order) -> None:
        with self._wake:
            self._orders.append(order)
            self._untold.append(order)
            self._wake.notify()

    def _is_ordered(self, kind: type[Order]) -> bool:
        return any(isinstance(order, kind) for order in self._orders)

    def _hurry_if(self, hurried: bool) -> None:
        if hurried and not self._is_ordered(Hurry):
            self._order(Hurry())

    def _work(self) -> None:
        tries = 0
        while True:
            said = self._one_process()
            if self._status.closed:
                return
            closing = self._is_ordered(BeginToClose)
            tries += closing
            if tries == LAST_TRIES:
                self._status = replace(self._status, closed=True, problem=self._behind(said))
                return
            self._status = replace(self._status, lag=redacted(f"MLflow is behind ({said})"))
            time.sleep(1.0 if closing else RETRY_SECONDS)

    def _one_process(self) -> str:
        """Tell a process everything until MLflow has it; returns how the process ended."""
        try:
            started, self._process = self._process or LoadingProcess(), None
        except OSError as error:
            return f"no process for it can be started: {error}"
        self._heard_at = time.monotonic()
        listener = threading.Thread(target=self._listen, args=(started.process,), daemon=True)
        listener.start()
        why = ""
        try:
            self._tell(started.process, listener)
        except OSError:  # it has ended
            pass
        except Exception as error:  # such as a part that cannot be pickled: told, and never MLflow's silence
            why = f"{in_short(error)}; "
        how = started.ended()
        listener.join()
        return why + how

    def _tell(self, process: subprocess.Popen[bytes], listener: threading.Thread) -> None:
        assert process.stdin is not None
        told: dict[str, tuple[Mapping[str, float], ...]] = {}
        with self._wake:
            self._changed = dict.fromkeys(self._records, time.time()) | self._changed
            self._untold = list(self._orders)
        _send(process.stdin, (self.uri, self._study))
        while listener.is_alive() and not self._status.closed:
            changed, orders = self._next()
            for record, at in changed:
                _send(process.stdin, _news(record, told, at))
            for order in orders:
                _send(process.stdin, order)
            process.stdin.flush()
            self._hurry_if(self._hurried())
            if not orders:
                time.sleep(TOGETHER_SECONDS)

    def _next(self) -> tuple[list[tuple[Record, float]], list[Order]]:
        """Wait a while for what is to be told; returns it."""
        with self._wake:
            self._wake.wait_for(lambda: self._changed or self._untold or self._status.closed, POLL_SECONDS)
            changed, self._changed = [(self._records[key], at) for key, at in self._changed.items()], {}
            orders, self._untold = self._untold, []
        return changed, orders

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        """Take up what the process says until it ends."""
        assert process.stdout is not None
        for line in process.stdout:
            with self._wake:
                self._heard_at = time.monotonic()
                self._status = Status(**json.loads(line))
                self._wake.notify()


def _send(to: IO[bytes], what: object) -> None:
    pickle.dump(what, to, pickle.HIGHEST_PROTOCOL)


def _news(record: Record, told: dict[str, tuple[Mapping[str, float], ...]], at: float) -> Told:
    """The record without the epochs that were told, which then are all."""
    known = told.get(record.key, ())
    count = len(known) if record.epochs[: len(known)] == known else 0
    told[record.key] = record.epochs
    return Told(replace(record, epochs=record.epochs[count:]), count, at)


def _ended(process: subprocess.Popen[bytes]) -> int:
    """End a process that has nothing more to do; returns its exit code."""
    assert process.stdin is not None
    with suppress(OSError):  # of what it did not take
        process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        return process.wait(LEAVING_SECONDS)
    process.kill()
    return process.wait()
