"""The time at which whoever gave the command takes the machines away, such as the end of a SLURM job."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from os import EX_TEMPFAIL

from orchestrator.driver.stop import Stop

WRITING_S = 30.0
"""How long it takes to write everything down once no epoch is in flight: tables, report, MLflow, Ray's end."""
START_S = 15.0
"""How long a trial takes to begin."""
SLACK = 1.5
"""A trial's first epoch may take so many times as long as the longest that was seen."""


class Deadline:
    """When a launch has to have ended; infinite where nobody said. ``until`` is in seconds since 1970."""

    def __init__(self, until: float = math.inf) -> None:
        self._until = until
        self._longest_epoch = 0.0

    @property
    def left_s(self) -> float:
        """Seconds until then."""
        return self._until - time.time()

    def saw_epoch(self, seconds: float | None) -> None:
        """Take how long an epoch took."""
        self._longest_epoch = max(self._longest_epoch, seconds or 0.0)

    def allows_a_trial(self) -> bool:
        """Whether a trial that began now would keep an epoch before; yes where no epoch has ended yet."""
        return self._longest_epoch == 0 or self.left_s - WRITING_S > START_S + SLACK * self._longest_epoch

    @contextmanager
    def asking(self, stop: Stop, grace_s: float) -> Iterator[None]:
        """Ask to stop in time: epochs in flight have their grace, and all is written down before the end."""
        over = threading.Event()

        def wait() -> None:
            while not over.wait(min(1.0, max(0.0, self.left_s - WRITING_S - grace_s))):
                if self.left_s <= WRITING_S + grace_s:
                    self.end(stop)
                    return

        thread = threading.Thread(target=wait, name="deadline", daemon=True)
        if self._until < math.inf:
            thread.start()
        try:
            yield
        finally:
            over.set()

    def end(self, stop: Stop) -> None:
        """Ask to stop: the time is over."""
        moment = datetime.fromtimestamp(self._until).astimezone().isoformat(sep=" ", timespec="seconds")
        stop.ask(f"its time ends at {moment}", EX_TEMPFAIL)
