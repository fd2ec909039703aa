"""A session that is stopped: what is left to `interrupt`, when a round is whole, and a judge in another thread."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.driver.session import Session
from orchestrator.driver.stop import Stop
from orchestrator.plan.planner import Planner
from orchestrator.store.records import Store
from orchestrator.store.trial_record import State
from orchestrator.studyfile import Study
from orchestrator.worker.job import EpochDone

Make = Callable[..., Study]
SCORE = {"val/miou": 0.5}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "out"), "s")


@pytest.fixture
def session(study: Make, store: Store) -> Session:
    return Session(Planner(study("search.trials=2", "search.references=[]")), store, [])


def epoch(number: int, *, last: bool = False) -> EpochDone:
    return EpochDone(number, SCORE, last=last)


def states(store: Store) -> dict[str, State]:
    return {record.key: record.state for record in store.records()}


def test_a_trial_that_stops_with_the_study_is_written_down_as_interrupted(session: Session, store: Store) -> None:
    session.start()
    session.epoch("search-0000", epoch(1))
    store.write_epochs("search-0000", 1, [SCORE])
    session.end("search-0000", epoch(1))
    assert session.running
    session.interrupt("interrupted by SIGTERM")
    (record,) = store.records()
    assert (record.state, len(record.epochs)) == (State.INTERRUPTED, 1)
    assert record.reason == "interrupted by SIGTERM"


def test_a_round_is_whole_once_every_trial_has_its_verdict(session: Session) -> None:
    for key in ("search-0000", "search-0001"):
        assert not session.whole
        session.start()
        session.end(key, epoch(4, last=True))
    assert session.whole


def test_a_round_with_an_interrupted_trial_is_not_whole(session: Session) -> None:
    session.start()
    session.start()
    session.end("search-0000", epoch(4, last=True))
    session.interrupt("interrupted by SIGINT")
    assert not session.whole


@dataclass
class HungTuner:
    """A fit that does not return before the process ends; what it waits for cannot be interrupted."""

    session: Session
    store: Store
    ended: threading.Event
    late: list[object]

    def fit(self) -> None:
        self.session.start()
        self.session.epoch("search-0000", epoch(1))
        self.store.write_epochs("search-0000", 1, [SCORE, SCORE])  # the worker went on
        self.stop.take(self.number)
        assert self.ended.wait(20)
        self.late.append(states(self.store))

    stop: Any = None
    number: Any = None


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_fit_that_hangs_is_judged_from_the_records(
    name: str, session: Session, store: Store, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    from fake_watch import searcher_of

    from orchestrator.driver import stop as owner
    from orchestrator.driver import tuner
    from orchestrator.driver.adapters import PruningScheduler

    monkeypatch.setattr(tuner, "MARGIN_S", 0.5)
    monkeypatch.setattr(owner, "_end_children", lambda: None)
    ended = threading.Event()
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        ended.set()

    stop = Stop("THE COMMAND", leave)
    said: list[str] = []
    stop.say = said.append
    hung = HungTuner(session, store, ended, [], stop, signal.Signals[name])
    scheduler = PruningScheduler(session, searcher_of(session, stop), stop)
    began = time.monotonic()
    tuner._fit(hung, session, stop, scheduler, grace_s=0.2)  # type: ignore[arg-type]
    stop.finished(0)
    assert time.monotonic() - began < 10
    again = "Ctrl-C again" if name == "SIGINT" else "a second signal"
    assert said == [f"stopping: no epoch is in flight; {again} stops now"]
    assert codes == [130 if name == "SIGINT" else 143]
    assert hung.late == [{"search-0000": State.INTERRUPTED}]
    (record,) = store.records()
    assert (len(record.epochs), record.reason) == (2, f"interrupted by {name}")
    assert "Continue with:  THE COMMAND" in capfd.readouterr().err


def test_once_it_is_seized_nobody_else_has_a_say(session: Session, store: Store) -> None:
    session.start()
    session.seize("interrupted by SIGTERM")
    driver = threading.Thread(target=session.end, args=("search-0000", epoch(4, last=True)), daemon=True)
    driver.start()
    driver.join(0.5)
    assert driver.is_alive()
    assert states(store) == {"search-0000": State.INTERRUPTED}


def test_no_trial_begins_and_every_epoch_is_the_last_once_a_stop_is_asked_for(session: Session) -> None:
    import signal

    from fake_watch import searcher_of
    from ray.tune.experiment import Trial
    from ray.tune.schedulers import TrialScheduler
    from ray.tune.search import Searcher

    from orchestrator.driver.adapters import LoopEnd, PruningScheduler

    stop = Stop("again", lambda _: None)
    stop.settle()
    searcher = searcher_of(session, stop)
    scheduler = PruningScheduler(session, searcher, stop)
    end = LoopEnd(stop, scheduler)
    trial: Any = type("FakeTrial", (), {"trial_id": "t", "status": Trial.RUNNING})()
    assert searcher.suggest("t") != Searcher.FINISHED
    for _ in range(2):  # the second time for a further worker, as Ray does where one was lost
        scheduler.on_trial_add(None, trial)
    result: Any = {"outcome": epoch(1)}
    assert scheduler.on_trial_result(None, trial, result) == TrialScheduler.CONTINUE
    assert (scheduler.in_flight, end.stop_all()) == (1, False)
    stop.take(signal.SIGTERM)
    assert searcher.suggest("u") == Searcher.FINISHED
    assert not end.stop_all(), "its epoch is in flight"
    assert scheduler.on_trial_result(None, trial, {"outcome": epoch(2)}) == TrialScheduler.STOP
    trial.status = Trial.TERMINATED
    assert (scheduler.in_flight, end.stop_all()) == (0, True)
    stop.finished(143)
