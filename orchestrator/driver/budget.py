"""What a study may still use: whether another trial can be paid to its end, and when to stop."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from orchestrator.driver.ledger import Ledger
from orchestrator.driver.stop import Stop
from orchestrator.plan.trial_source import Need
from orchestrator.store.spending import HOUR_S, Spent
from orchestrator.studyfile import BudgetSection

STOPPED = 3
"""Exit code of a launch whose budget is over: the same command would come no further."""
LOOK_S = 0.5
ROUNDING = 1e-9
"""Share of a limit that is our own arithmetic."""


@dataclass(frozen=True)
class Pace:
    """What an epoch has cost on average: what was lost with workers included, starts of trials left out."""

    seconds: float
    gpu_seconds: float

    @classmethod
    def of(cls, spent: Spent) -> "Pace | None":
        """The pace of what was spent; None before the first epoch."""
        at_work = spent.trial_seconds - spent.starting
        if spent.epochs == 0 or at_work <= 0:
            return None
        share = at_work / spent.trial_seconds
        return cls(at_work / spent.epochs, spent.gpu_hours * HOUR_S * share / spent.epochs)


class Budget:
    """The limits of a study over all its launches.

    Args:
        section: The limits.
        ledger: Counts what is used.
        now: Seconds since 1970; tests have their own.
    """

    def __init__(self, section: BudgetSection, ledger: Ledger, now: Callable[[], float] = time.time) -> None:
        self._section, self._ledger, self._now = section, ledger, now
        self.missing: Callable[[], str] = lambda: "trials are missing"
        """What is not run yet, in words."""

    @property
    def limits_anything(self) -> bool:
        """Whether there is a limit."""
        return self._section.limits_anything

    def over(self) -> str | None:
        """Which limit is reached, in words; None where none is."""
        spent, section = self._ledger.spent, self._section
        if section.gpu_hours is not None and spent.gpu_hours >= section.gpu_hours:
            return f"budget.gpu_hours is spent: {_of(spent.gpu_hours, section.gpu_hours)}"
        if section.hours is not None and spent.seconds >= section.hours * HOUR_S:
            return f"budget.hours is spent: {_of(spent.seconds / HOUR_S, section.hours)}"
        if section.ends is not None and self._now() >= section.ends:
            return f"budget.until is over: {_date(section.ends)}"
        return None

    def lacks(self, need: Need, live_epochs: int = 0, *, slots: int = 1, live: int = 0) -> str | None:
        """What is missing for more trials, in words; None where they can be paid, or nobody knows yet what they cost.

        Args:
            need: The trials.
            live_epochs: What those that run have still to train.
            slots: Trials at a time.
            live: Trials that run.
        """
        section = self._section
        if need.trials == 0 or not self.limits_anything:
            return None
        spent = self._ledger.spent
        pace = Pace.of(spent)
        if pace is None:
            reached = self.over()
            return f"{reached}; {self.missing()}" if reached else None
        start = self._ledger.latest_start
        gpu_seconds = pace.gpu_seconds * (need.epochs + live_epochs + need.trials * start / pace.seconds)
        gpu_hours = gpu_seconds / HOUR_S
        if section.gpu_hours is not None and gpu_hours > section.gpu_hours * (1 + ROUNDING) - spent.gpu_hours:
            return self._short("gpu_hours", f"{_of(spent.gpu_hours, section.gpu_hours)} are spent", need)
        seconds = (pace.seconds * need.epochs / need.trials + start) * waves(need.trials, slots, slots - live)
        if section.hours is not None and seconds > section.hours * HOUR_S * (1 + ROUNDING) - spent.seconds:
            return self._short("hours", f"{_of(spent.seconds / HOUR_S, section.hours)} are spent", need)
        if section.ends is not None and self._now() + seconds > section.ends + ROUNDING:
            return self._short("until", f"its end is {_date(section.ends)}", need)
        return None

    def _short(self, limit: str, spent: str, need: Need) -> str:
        more = "a further trial" if need.trials == 1 else f"a further block of {need.trials} runs"
        return f"budget.{limit} does not pay {more}: {spent}; {self.missing()}"

    @contextmanager
    def watched(self, stop: Stop) -> Iterator[None]:
        """Ask to stop once a limit is reached: trials that took longer than they were reckoned with."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(LOOK_S):
                if (reached := self.over()) is not None:
                    stop.ask(reached, STOPPED, lambda: f"; {self.missing()}; raise the budget to go on")
                    return

        thread = threading.Thread(target=look, name="budget", daemon=True)
        if self.limits_anything:
            thread.start()
        try:
            yield
        finally:
            ended.set()


def waves(trials: int, slots: int, free: int) -> int:
    """How many trials run one after the other at most, where so many slots are free now and the others within a trial.

    Args:
        trials: Trials that begin as slots come free.
        slots: Trials at a time.
        free: Slots that are free now, one at least as a trial is about to begin.
    """
    return 1 + max(0, math.ceil((trials - max(1, free)) / max(1, slots)))


def _of(spent: float, limit: float) -> str:
    return f"{spent:.3g} of {limit:g}"


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment).astimezone().isoformat(sep=" ", timespec="minutes")
