"""Counts and forecasts of a running study, for whatever shows them."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from orchestrator.store.ranking import best
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Objective
from orchestrator.terminal.beside import Distance, Rival, direction
from orchestrator.terminal.formats import duration
from orchestrator.terminal.tally import Tally
from trainable.evaluate.metrics.names import EPOCH_SECONDS


@dataclass
class Progress:
    """Counts and forecasts of a running study; one thread tells it of trials, others may look.

    Args:
        total: Trials of the study, references included.
        epochs_per_trial: Epochs of a trial that is not stopped early.
        objective: What is optimised; the first of several.
        known: Records of earlier launches.
        trouble: What the user should know of the launch itself, such as that MLflow is behind; None while all is well.
        stage: What runs: the search, or a comparison.
        inherited: Epochs that trials which have not ended take over from prefixes, as far as that is known.
        used: GPU-hours and the like that were used, for the progress line; None where nothing is to be said.
        place: Which of the study's stages runs, as ``1 of 3``; empty where there is one.
        later: Stages that follow, in words.
        rival: The trial that others are to beat; None where there is none.
    """

    total: int
    epochs_per_trial: int
    objective: Objective
    known: Iterable[Record] = ()
    trouble: Callable[[], str | None] = lambda: None
    stage: str = "search"
    inherited: int = 0
    used: Callable[[], str | None] = lambda: None
    place: str = ""
    later: str = ""
    rival: Rival | None = None
    records: dict[str, Record] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._turn = threading.RLock()
        self._tally = Tally()
        self._top: Record | None = None
        for record in self.known:
            if record.state.final:
                self._keep(record)
        self._before = {r.key: len(r.epochs) for r in self.known if r.planned.kind != "imported"}
        """Epochs of each trial that earlier launches ran, as far as they are not run again."""
        self._epochs_before = sum(self._before.values())
        self._unheard = {key: epochs for key, epochs in self._before.items() if key not in self.records}
        """The same of those that have not begun again."""
        self._rivals = {r.key: r for r in self.records.values() if self.rival and self.rival.is_one(r)}
        self._ran: dict[str, int] = {}
        """Epochs of each trial that this launch has run, and of all together."""
        self._epochs_done = 0
        self._since: dict[str, float] = {}
        """When a trial was last heard of."""
        self._last_epoch = self.started

    def update(self, record: Record) -> None:
        """Take a trial's latest record."""
        with self._turn:
            before_it = self._epochs_done
            self._keep(record)
            self._unheard.pop(record.key, None)
            if self.rival and self.rival.is_one(record):
                self._rivals[record.key] = record
            known = self._before.get(record.key, 0)
            self._before[record.key] = before = min(max(known, record.planned.inherited), len(record.epochs))
            self._epochs_before += before - known
            ran = len(record.epochs) - before
            self._epochs_done += ran - self._ran.get(record.key, 0)
            self._ran[record.key] = ran
            self._since[record.key] = now = time.monotonic()
            if self._epochs_done == before_it:
                return
            self._last_epoch = now
            if before_it == 0 and EPOCH_SECONDS in record.epochs[-1]:
                self.started = now - record.epochs[-1][EPOCH_SECONDS]  # what came before was start-up

    def count(self, *states: State) -> int:
        """Trials in one of ``states``."""
        return sum(self._tally.states[state] for state in states)

    def running(self) -> list[Record]:
        """Trials at work."""
        return [record for record in list(self._tally.open.values()) if record.state is State.RUNNING]

    def quiet_s(self, record: Record) -> float:
        """Seconds since a trial was last heard of: how long its epoch has lasted."""
        return time.monotonic() - self._since.get(record.key, time.monotonic())

    def distance(self, record: Record) -> Distance | None:
        """How far a trial is from its rival; None where there is nothing to compare with."""
        return self.rival.distance(record, list(self._rivals.values())) if self.rival else None

    def distance_in_words(self, record: Record) -> str:
        """``+0.0371 better than plain``; empty where there is nothing to compare with."""
        distance = self.distance(record)
        if self.rival is None or distance is None:
            return ""
        return f"{distance} {'to' if distance.better is None else 'than'} {self.rival.name}"

    def line(self) -> str:
        """The whole state in one line."""
        return " · ".join(
            [*self.counts(), self.epochs_in_words(), *self.best_in_words(), self.eta_in_words(), *self.notes()]
        )

    def counts(self) -> list[str]:
        """The stage, and how many trials are where."""
        done = self.count(State.COMPLETE, State.PRUNED)
        counts = f"{done}/{self.total} done, {len(self.running())} running, {self.count(State.FAILED)} failed"
        place = f" ({self.place})" if self.place else ""
        return [counts] if self.stage == "search" and not place else [f"{self.stage}{place}", counts]

    @property
    def epochs(self) -> tuple[int, int]:
        """Epochs that have run, and all of them."""
        with self._turn:
            return self._epochs_done + self._epochs_before, self.total * self.epochs_per_trial

    def epochs_in_words(self) -> str:
        """``39/84 epochs``, and how many of them came from prefixes."""
        shared = self._epochs_shared()
        return "{}/{} epochs".format(*self.epochs) + (f" · {shared} epochs from shared prefixes" if shared else "")

    def best_in_words(self) -> list[str]:
        """The best trial of the search, which direction is better, and the rival."""
        top = self._top
        if top is None:
            return [f"{self.objective.metric}: {direction(self.objective)}"]
        beside = self.distance_in_words(top)
        value = f"best {self.objective.metric} {top.epochs[-1][self.objective.metric]:.4f} ({top.key})"
        return [f"{value}{f', {beside}' if beside else ''}, {direction(self.objective)}"]

    def eta_in_words(self) -> str:
        """``ETA 3 min 20 s``; of the stage alone where others follow."""
        eta = self.eta_seconds()
        forecast = f"ETA {duration(eta)}" if eta is not None else "ETA after the first epoch"
        return f"{forecast}, then {self.later}" if self.later else forecast

    def notes(self) -> list[str]:
        """What was used, and what troubles the launch."""
        return [note for note in (self.used(), self.trouble()) if note]

    def eta_seconds(self) -> float | None:
        """Seconds until the last epoch at the pace of this launch; None before its first epoch.

        The pace is that of the epochs which have ended, so the forecast falls while the next ones run. Trials that have
        not begun are taken to be stopped early as those were that ended.
        """
        with self._turn:
            done = self._epochs_done
            if done == 0:
                return None
            # at the first result the trials beside that one are about as far
            pace = (self._last_epoch - self.started) / max(done, len(self.running()))
            waited = time.monotonic() - self._last_epoch
            return max(0.0, self._epochs_left() * pace - waited, *map(self._left_of_its_own, self.running()))

    def _epochs_left(self) -> float:
        """Epochs that are still to run."""
        tally = self._tally
        open_ones = [*(len(record.epochs) for record in tally.open.values()), *self._unheard.values()]
        begun = self.epochs_per_trial * len(open_ones) - sum(open_ones)
        unbegun = max(0, self.total - tally.ended - len(open_ones)) * tally.expected_epochs(self.epochs_per_trial)
        return begun + unbegun - max(0, self.inherited - self._epochs_shared())

    def _left_of_its_own(self, record: Record) -> float:
        """Seconds that a running trial needs by itself: the last one of a study has nobody beside it."""
        seconds = record.last(EPOCH_SECONDS) or 0.0
        left = record.planned.epochs - len(record.epochs)
        return max(0.0, left - 1) * seconds + max(0.0, seconds - self.quiet_s(record)) * (left > 0)

    def _keep(self, record: Record) -> None:
        """Take a record in place of the trial's earlier one."""
        self._tally.replace(self.records.get(record.key), record)
        self.records[record.key] = record
        if record.state is State.COMPLETE:
            rivals = [self._top, record] if self._top else [record]
            self._top = best(sorted(rivals, key=lambda r: r.key), self.objective)  # of equals the first, as the summary

    def _epochs_shared(self) -> int:
        """Epochs that trials took over from prefixes."""
        return self._tally.shared
