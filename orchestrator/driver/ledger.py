"""What a launch uses while it runs, kept in the study's directory every few seconds: a kill loses no more than that."""

import math
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Self

from orchestrator.store.objects import Objects
from orchestrator.store.spending import Spent

WRITTEN_EVERY_S = 10.0
SETTLE_S = 0.5
"""How soon it is written that a trial has begun: others may begin in the same moment."""


@dataclass
class _Stay:
    """A trial in its slot."""

    gpus: float
    began: float
    since: float
    """What came before is counted already."""
    node: str = ""
    at_work: bool = False
    """Whether its first epoch has ended."""


class Ledger(AbstractContextManager["Ledger"]):
    """Counts what trials occupy, from when they are handed out until their end.

    Args:
        objects: The study's directory.
        earlier: What the launches before this one used.
        clock: Seconds that only ever grow; tests have their own.
    """

    def __init__(self, objects: Objects, earlier: Spent, clock: Callable[[], float] = time.monotonic) -> None:
        self._objects, self._earlier, self._clock = objects, earlier, clock
        self._launch = uuid.uuid4().hex
        self._began = clock()
        self._ended: Spent = Spent()
        self._stays: dict[str, _Stay] = {}
        self.latest_start = 0.0
        """Seconds that the trial which began last took until its first epoch began."""
        self._turn = threading.Lock()
        self._over, self._news = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep, name="ledger", daemon=True)

    def __enter__(self) -> Self:
        """Begin to count; the time before is none of the trials'."""
        self._began = self._clock()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._news.set()
        self._thread.join()
        self.write()

    def begin(self, trial: str, gpus: float) -> None:
        """A trial occupies its slot from now on."""
        with self._turn:
            self._stays[trial] = _Stay(gpus, self._clock(), self._clock())
        self._news.set()

    def saw_epoch(self, trial: str, node: str = "", seconds: float | None = None) -> None:
        """A trial has kept an epoch of so many seconds; ``node`` is where a worker of it began, if that is news."""
        with self._turn:
            self._ended = self._ended.plus(Spent(epochs=1))
            stay = self._stays.get(trial)
            if stay is not None and not stay.at_work:
                stay.at_work = True
                self.latest_start = max(0.0, self._clock() - stay.began - (seconds or math.inf))
                self._ended = self._ended.plus(Spent(starting=self.latest_start))
            if stay is not None and node not in ("", stay.node):
                if stay.node:  # another node goes on; what came before the first one's word is the first one's
                    self._settle(stay)
                stay.node = node

    def end(self, trial: str) -> None:
        """A trial has left its slot."""
        with self._turn:
            if (stay := self._stays.pop(trial, None)) is not None:
                self._settle(stay)

    @property
    def spent(self) -> Spent:
        """What all launches have used up to now."""
        return self._earlier.plus(self._own())

    def write(self, ahead_s: float = 0.0) -> None:
        """Keep what this launch has used, or will have by then; a storage that is away for a while gets it later."""
        with suppress(OSError):
            self._own(ahead_s).write(self._objects, self._launch)

    def _own(self, ahead_s: float = 0.0) -> Spent:
        now = self._clock() + ahead_s
        with self._turn:
            own = self._ended.plus(Spent(seconds=now - self._began))
            for stay in self._stays.values():
                own = own.plus(_used(stay, now))
        return own

    def _settle(self, stay: _Stay) -> None:
        """Count a stay up to now."""
        now = self._clock()
        self._ended = self._ended.plus(_used(stay, now))
        stay.since = now

    def _keep(self) -> None:
        while not self._over.wait(SETTLE_S):
            self._news.clear()
            self.write(ahead_s=WRITTEN_EVERY_S)  # a launch that is killed before the next time has used no more
            self._news.wait(WRITTEN_EVERY_S - SETTLE_S)


def _used(stay: _Stay, now: float) -> Spent:
    seconds = now - stay.since
    return Spent(trial_seconds=seconds, gpu_seconds={stay.node: seconds * stay.gpus} if stay.gpus else {})
