"""One launch of a study, on the driver: planner, records and listeners, with no knowledge of Ray."""

import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial, wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar, assert_never

from orchestrator.errors import one_line
from orchestrator.plan.trial_source import Need, TrialSource, stopped_early
from orchestrator.store.epoch_metrics import compact
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Planned, Record, Setback, State
from orchestrator.worker.job import AttemptBegan, EpochDone, Failed, Interrupted, Outcome

P = ParamSpec("P")
T = TypeVar("T")


class Listener(Protocol):
    """Whoever wants to know how trials fare: the display, the tracker. Called on the driver; must not block."""

    def update(self, record: Record) -> None:
        """A trial started, ended an epoch or ended."""


def in_turn(act: Callable[Concatenate["Session", P], T]) -> Callable[Concatenate["Session", P], T]:
    """Let one thread at a time act on a session: a stop that waits no longer judges in another than the driver's."""

    @wraps(act)
    def wait_for_turn(session: "Session", /, *arguments: P.args, **named: P.kwargs) -> T:
        with session._turn:
            return act(session, *arguments, **named)

    return wait_for_turn


class Session:
    """Hands out the source's trials and takes their results; ``known`` are the trials of earlier launches."""

    def __init__(
        self,
        source: TrialSource,
        store: Store,
        listeners: Sequence[Listener],
        known: Sequence[Record] = (),
        say: Callable[[str], None] = print,
    ) -> None:
        self._source = source
        self._store = store
        self._listeners = list(listeners)
        self._say = say
        self._unfinished = {record.key: record for record in known if not record.state.final}
        self._live: dict[str, Record] = {}
        self._suspended: set[str] = set()
        self._turn = threading.RLock()
        self._pruned: set[str] = set()
        self._best: Record | None = None
        for record in known:
            if source.better(record, self._best):
                self._best = record
        self.launch = uuid.uuid4().hex
        """Tells this launch's attempts at a trial from earlier ones."""
        self.problem: str | None = None
        """Why no further trial begins: the storage or a machine failed, or None."""
        self.begun = False
        """Whether a trial was handed out."""

    @property
    def running(self) -> bool:
        """Whether a trial that was handed out has no verdict yet."""
        return bool(self._live)

    @property
    def whole(self) -> bool:
        """Whether every trial of the source was handed out and has its verdict."""
        return self._source.exhausted and not self._live and not self._suspended

    @property
    @in_turn
    def need(self) -> Need:
        """What must be paid for before the next trial begins, without what earlier launches and prefixes trained."""
        need = self._source.need
        trained = sum(len(self._unfinished[key].epochs) for key in need.keys if key in self._unfinished)
        return replace(need, epochs=max(0, need.epochs - trained))

    @property
    @in_turn
    def live_epochs(self) -> int:
        """Epochs that the trials at work have still to train."""
        return sum(max(0, record.planned.epochs - len(record.epochs)) for record in self._live.values())

    @in_turn
    def start(self) -> Planned | None:
        """The next trial to run, remembered before it starts; None when all have been handed out."""
        if not self.problem:
            planned = self._source.next()
            if planned is None or not self._kept(partial(self._store.plan, planned)):
                return None
            self.begun = True
            known = self._unfinished.pop(planned.key, None)
            self._update(Record(planned, known.epochs, setbacks=known.setbacks) if known else Record(planned))
            return planned
        return None

    @in_turn
    def epoch(self, key: str, done: EpochDone) -> bool:
        """Take an epoch that is not the trial's last; True means: stop the trial here."""
        self._begin(key, done.began)
        if key in self._pruned:
            return True
        self._update(self._live[key].with_epoch(done.epoch, done.metrics))
        if self._source.report(self._live[key].planned, done.epoch, done.metrics):
            self._pruned.add(key)
            return True
        return False

    @in_turn
    def end(self, key: str, outcome: Outcome) -> None:
        """Take the outcome with which a trial ended: its last epoch, or the one after which it was stopped early."""
        match outcome:
            case EpochDone(last=False) if key not in self._pruned:
                pass  # stopped with the study: ``interrupt`` writes it down
            case EpochDone():
                self._begin(key, outcome.began)
                if key in self._pruned:
                    self._judge(stopped_early(self._live[key]))
                else:
                    whole = self._live[key].with_epoch(outcome.epoch, outcome.metrics)
                    self._judge(whole.ended(State.COMPLETE))
            case Failed(reason):
                with self._outage(key):
                    self._fail(key, reason)
            case Interrupted(reason):  # it continues at the next launch
                self.problem = self.problem or reason
                self._suspend(self._live.pop(key).ended(State.INTERRUPTED, reason))
            case _:
                assert_never(outcome)

    @in_turn
    def set_back(self, key: str, setback: Setback) -> None:
        """Take that the memory of a GPU ended an attempt; the trial goes on, or `end` follows."""
        self._say(f"{key}: {setback}")
        self._update(replace(self._live[key], setbacks=(*self._live[key].setbacks, setback)))

    def setbacks(self, key: str) -> tuple[Setback, ...]:
        """Those of a trial that was handed out, of earlier launches too."""
        return self._live[key].setbacks

    @in_turn
    def lose(self, key: str, reason: str) -> None:
        """Take the loss of a trial's last worker; one that hung ended itself, and said so."""
        with self._outage(key):
            self._fail(key, self._store.read_hung(key, self.launch) or reason)

    def give_up(self, problem: str) -> None:
        """Let no further trial begin."""
        self.problem = self.problem or problem

    def abandon(self, reason: str) -> None:
        """Write down the trials whose workers nobody hears of any more: what runs them has failed."""
        self.problem = self.problem or reason
        self.interrupt(reason)

    def seize(self, reason: str) -> None:
        """`interrupt`, and let nobody else do anything any more: for a thread that ends the process."""
        self._turn.acquire()
        self.interrupt(reason)

    @in_turn
    def interrupt(self, reason: str) -> None:
        """Write down the trials that were still running, with the epochs their workers kept.

        A worker may finish an epoch, even its last, after the driver stopped listening: its directory knows.
        """
        for key, live in list(self._live.items()):
            with self._outage(key):
                kept = self._store.record(key)
                record = replace(live, epochs=kept.epochs if kept else live.epochs)
                ended = self._source.verdict(record)
                if ended is not None:
                    self._judge(ended)
                else:
                    del self._live[key]
                    self._suspend(record.ended(State.INTERRUPTED, reason))

    def _begin(self, key: str, began: AttemptBegan | None) -> None:
        """Take the epochs from which a worker goes on: what its checkpoint holds wins over what was known."""
        if began is None:
            return
        for line in began.notes:
            self._say(f"warning: {line}")
        if key in self._pruned:  # told twice, or lost while it was being stopped: its verdict stands
            return
        known, earlier = len(self._live[key].epochs), compact(tuple(began.earlier))
        self._live[key] = record = replace(self._live[key], epochs=earlier)
        for epoch, metrics in enumerate(earlier[known:], start=known + 1):
            if self._source.report(record.planned, epoch, metrics):  # it was to stop there; its worker went on
                self._live[key] = replace(record, epochs=earlier[:epoch])
                self._pruned.add(key)
                return

    def _fail(self, key: str, reason: str) -> None:
        """Take a trial's failure, with the epochs that its workers kept."""
        live, kept = self._live[key], self._store.record(key)
        epochs = kept.epochs if kept is not None and len(kept.epochs) > len(live.epochs) else live.epochs
        self._judge(replace(live, epochs=epochs).ended(State.FAILED, reason))

    @contextmanager
    def _outage(self, key: str) -> Iterator[None]:
        """Where the storage cannot be read, leave the trial to the next launch, which finds what its workers kept."""
        try:
            yield
        except OSError as error:
            self._note_outage(error)
            self._suspend(self._live.pop(key).ended(State.INTERRUPTED, self.problem))

    def _judge(self, record: Record) -> None:
        del self._live[record.key]
        record, system_attrs = self._source.finish(record)
        # before the verdict: after a kill in between, the epochs alone tell how the trial ended
        if self._kept(lambda: self._drop_checkpoints(record)):
            self._kept(lambda: self._store.judge(record, system_attrs))
        self._tell(record)

    def _drop_checkpoints(self, record: Record) -> None:
        """A finished trial needs no checkpoint; the best one keeps its last, for whoever wants the weights."""
        if record.state is State.FAILED:  # it may be run again
            return
        keep = self._store.kept_starts(record.planned)
        if self._source.better(record, self._best):
            beaten, self._best = self._best, record
            keep = self._store.checkpoints(record.key)[:1]
            if beaten is not None:
                self._store.drop_checkpoints(beaten.key)
        self._store.drop_checkpoints(record.key, keep=keep)

    def _suspend(self, record: Record) -> None:
        self._suspended.add(record.key)
        self._kept(lambda: self._store.judge(record, self._source.notes(record.planned)))
        self._tell(record)

    def _kept(self, write: Callable[[], object]) -> bool:
        """Whether the storage took something; if not, no further trial begins."""
        try:
            write()
        except OSError as error:
            self._note_outage(error)
            return False
        return True

    def _note_outage(self, error: OSError) -> None:
        self.problem = self.problem or f"the storage failed: {one_line(error)}"

    def _update(self, record: Record) -> None:
        self._live[record.key] = record
        self._tell(record)

    def _tell(self, record: Record) -> None:
        for listener in list(self._listeners):
            try:
                listener.update(record)
            except Exception:  # whoever only watches must never end the study; the records hold everything
                logging.getLogger(__name__).exception("%s is told nothing more", type(listener).__name__)
                self._listeners.remove(listener)
