"""A process that keeps MLflow in step with a launch: ``python -m orchestrator.tracking.tracker_process PARENT``.

``TrackerApart`` starts it, and it ends with that process, even a killed one. What it is told comes pickled on stdin:
first the address and the study, then an `Order` after the other. It answers on stdout with a line of JSON whenever its
`Status` has changed, and each second.
"""

import json
import pickle
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import IO, assert_never

from orchestrator.tracking.tracker import POLL_SECONDS, Tracker
from orchestrator.tracking.tracker_orders import BeginToClose, Close, ExpectEnd, Hurry, Order, Status, Told
from trainable.program import answers_on_stdout, collect_rarely, end_with, leave

HEARTBEAT_SECONDS = 1.0
"""A launch gives up a process that says nothing for long."""


class TrackerProcess:
    """Does with a tracker what it is told."""

    def __init__(self, tracker: Tracker, answers: IO[str]) -> None:
        self._tracker, self._answers = tracker, answers
        self._epochs: dict[str, tuple[Mapping[str, float], ...]] = {}
        self._hurried, self._over, self._speaking = threading.Event(), threading.Event(), threading.Lock()
        self._said: Status | None = None
        self._said_at = 0.0
        self._ending: BeginToClose | None = None
        threading.Thread(target=self._tell, daemon=True).start()

    def take(self, order: Order) -> None:
        """Do what an order says; returns at once."""
        tracker = self._tracker
        match order:
            case Told(record, known, at):
                epochs = self._epochs[record.key] = self._epochs.get(record.key, ())[:known] + record.epochs
                tracker.update(replace(record, epochs=epochs), at)
            case ExpectEnd(best):
                tracker.expect_end(best)
            case BeginToClose(status, summary):
                self._ending = order
                tracker.begin_to_close(status=status, summary=summary, hurried=self._hurried.is_set)
            case Close(patience):
                threading.Thread(target=self._close, args=(patience,), daemon=True).start()
            case Hurry():
                self._hurried.set()
            case _:
                assert_never(order)

    def _close(self, patience: float) -> None:
        assert self._ending is not None
        status, summary, hurried = self._ending.status, self._ending.summary, self._hurried.is_set
        problem = self._tracker.close(status=status, summary=summary, patience=patience, hurried=hurried)
        self._over.set()
        self._say(replace(self._status(), closed=True, problem=problem))

    def _tell(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            self._say(self._status())

    def _status(self) -> Status:
        return Status(self._tracker.page, self._tracker.lag, self._tracker.behind)

    def _say(self, status: Status) -> None:
        with self._speaking, suppress(OSError):  # the launch has ended
            now = time.monotonic()
            known = status == self._said and now - self._said_at < HEARTBEAT_SECONDS
            if known or (self._said is not None and self._said.closed):
                return
            print(json.dumps(asdict(status)), file=self._answers, flush=True)
            self._said, self._said_at = status, now


def main(parent: int) -> int:
    """Do what stdin says until it ends; returns the exit code."""
    end_with(parent)
    collect_rarely()  # for good: each metric is an object to MLflow, and the collector a quarter of its time
    with answers_on_stdout() as answers:
        with suppress(Exception):  # the first trial says what is wrong with it
            import orchestrator.tracking.runs  # noqa: F401  # takes two seconds, while the launch prepares
        uri, study = pickle.load(sys.stdin.buffer)
        process = TrackerProcess(Tracker(uri, study), answers)
        with suppress(EOFError):
            for order in iter(partial(pickle.load, sys.stdin.buffer), None):
                process.take(order)
    return 0


if __name__ == "__main__":
    leave(main(int(sys.argv[1])))
