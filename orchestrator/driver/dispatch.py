"""Which trial begins next and on what: from the session's source, or once more after its GPU had no memory. No Ray."""

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import Protocol

from orchestrator.driver.capacity import Demand
from orchestrator.driver.ladder import Again, after, first_rung, may_recompute
from orchestrator.driver.packing import would_fit
from orchestrator.driver.session import Session
from orchestrator.driver.sharing import Sharing, Start
from orchestrator.store.trial_record import Planned, Rung, Setback
from orchestrator.worker.job import EpochDone, Failed, Interrupted, Measured, RanOut, WorkerOutcome
from trainable.evaluate.metrics.names import GPU_PEAK


class Wait(Enum):
    """Why nothing begins now."""

    LATER = auto()
    """There is no room, or what is running may come back."""
    OVER = auto()
    """There is nothing left."""


class Room(Protocol):
    """What a dispatch asks of a cluster."""

    def has_room(self, live: Sequence[Demand], another: Demand) -> bool:
        """Whether another trial can run beside those that live."""

    def may_grow_for(self, demand: Demand) -> bool:
        """Whether nodes may be added that hold such a trial."""


class Dispatch:
    """Hands out trials with what each occupies.

    Args:
        session: The launch.
        demand: What every trial occupies where each takes the same.
        room: The cluster.
        retries: How often memory that others took is tried again.
        sharing: Decides the shares of ``gpu: auto``; None where each takes the same.
    """

    def __init__(
        self, session: Session, demand: Demand, room: Room, retries: int = 0, sharing: Sharing | None = None
    ) -> None:
        self._session, self._demand, self._room, self._retries = session, demand, room, retries
        self._sharing = sharing
        self._waiting: list[tuple[Planned, Rung]] = []
        self._by_others: dict[str, int] = {}

    def next(self, live: Sequence[Demand]) -> Start | Wait:
        """What begins beside those that live; trials that wait come first, in order."""
        for planned, rung in list(self._waiting):
            start = self._start(planned, rung, live)
            if isinstance(start, Start):
                return self._handed(start)
            if isinstance(start, str):
                self._refuse(planned, start)
            elif not (self._sharing and self._sharing.waits_for_probe(planned)):
                return Wait.LATER  # it goes first: smaller ones would never leave it a whole GPU
        return self._fresh(live)

    def take(self, start: Start, outcome: WorkerOutcome) -> None:
        """Take the outcome with which an attempt or a probe ended."""
        if start.measures is not None and self._sharing:
            self._sharing.take(start, outcome)
        elif isinstance(outcome, RanOut):
            self._take_setback(start.planned, outcome.setback)
        else:
            assert not isinstance(outcome, Measured)  # of a probe alone
            self.note(start, outcome)
            self._session.end(start.planned.key, outcome)

    def note(self, start: Start, outcome: WorkerOutcome) -> None:
        """Take the peak of an epoch."""
        if self._sharing and isinstance(outcome, EpochDone) and (peak := outcome.metrics.get(GPU_PEAK)):
            self._sharing.observe(start.planned, peak)

    def lose(self, start: Start, reason: str) -> None:
        """Take the loss of the last worker of a trial or a probe."""
        if start.measures is not None and self._sharing:
            self._sharing.take(start, None)
        else:
            self._session.lose(start.planned.key, reason)

    def give_up(self, problem: str) -> None:
        """Leave the trials that wait to the next launch."""
        for planned, _ in self._waiting:
            self._session.end(planned.key, Interrupted(problem))
        self._waiting.clear()

    def elsewhere(self, start: Start, live: Sequence[Demand]) -> Start:
        """Where a trial goes on whose node is gone; without another place it waits for that one."""
        if not self._sharing or start.demand.node is None:
            return start
        places = self._sharing.options(start.planned, start.rung)
        chosen = next((place for place in places if self._fits(live, place.demand)), places[0])
        return replace(chosen, measures=start.measures)

    def _fresh(self, live: Sequence[Demand]) -> Start | Wait:
        """A trial from the session's source, as far as there may be room for one."""
        least = self._sharing.least if self._sharing else self._demand
        unmeasured = len(self._waiting) > self._sharing.probes if self._sharing else bool(self._waiting)
        if unmeasured or not self._fits(live, least):
            return Wait.LATER
        planned = self._session.start()
        if planned is None:
            comes_back = self._waiting or any(demand.gpu > 0 for demand in live)
            return Wait.LATER if comes_back and not self._session.problem else Wait.OVER
        rung = first_rung(self._session.setbacks(planned.key), may_recompute=may_recompute(planned.config))
        self._waiting.append((planned, rung))
        start = self._start(planned, rung, live)
        if isinstance(start, Start):
            return self._handed(start)
        if isinstance(start, str):
            self._refuse(planned, start)
        return Wait.LATER

    def _start(self, planned: Planned, rung: Rung, live: Sequence[Demand]) -> Start | str | None:
        if self._sharing:
            return self._sharing.start(planned, rung, lambda demand: self._fits(live, demand))
        demand = self._demand if rung == "shared" else replace(self._demand, gpu=max(1.0, self._demand.gpu))
        return Start(planned, demand, rung) if self._fits(live, demand) else None

    def _handed(self, start: Start) -> Start:
        if start.measures is None:
            self._waiting = [(planned, rung) for planned, rung in self._waiting if planned.key != start.planned.key]
        return start

    def _fits(self, live: Sequence[Demand], demand: Demand) -> bool:
        """Whether there is room; of a cluster that grows on demand, one more waits: it is the demand."""
        if self._room.has_room(live, demand):
            return True
        return self._room.may_grow_for(demand) and (not live or self._room.has_room(live[:-1], demand))

    def _refuse(self, planned: Planned, why: str) -> None:
        self._waiting = [(waiting, rung) for waiting, rung in self._waiting if waiting.key != planned.key]
        self._session.end(planned.key, Failed(why))

    def _take_setback(self, planned: Planned, setback: Setback) -> None:
        """Let a trial whose GPU had no memory go on as the ladder says, or fail with what would fit."""
        key = planned.key
        self._by_others[key] = self._by_others.get(key, 0) + setback.by_others
        self._session.set_back(key, setback)
        if self._sharing and setback.peak and not setback.by_others and setback.rung != "recompute":
            self._sharing.observe(planned, setback.peak)
        if self._session.problem:  # nothing begins any more
            self._session.end(key, Interrupted(self._session.problem))
            return
        allowed = may_recompute(planned.config)
        largest = self._sharing.largest if self._sharing else None
        following = after(setback, self._by_others[key], self._retries, may_recompute=allowed, largest=largest)
        if isinstance(following, Again):
            self._waiting.append((planned, following.rung))
            return
        remedy = would_fit(setback.peak or 0, setback.total or 0, planned.batch_size)
        self._session.end(key, Failed(f"{setback}; tried {following.because}; {remedy}"))
