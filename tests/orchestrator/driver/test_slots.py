"""When a trial may begin: as many live as the cluster holds now, and none that the time left cannot give an epoch."""

import time
from collections.abc import Callable

import pytest
from fake_watch import AmpleCluster, searcher_of
from ray.tune.search import Searcher

from orchestrator.driver.deadline import START_S, WRITING_S, Deadline
from orchestrator.driver.session import Session
from orchestrator.driver.stop import Stop
from orchestrator.plan.planner import Planner
from orchestrator.store.records import Store
from orchestrator.studyfile import Study
from orchestrator.worker.job import EpochDone
from trainable.evaluate.metrics.names import EPOCH_SECONDS

Make = Callable[..., Study]


@pytest.fixture
def session(study: Make, tmp_path: object) -> Session:
    return Session(Planner(study("search.trials=9", "search.references=[]")), Store(f"{tmp_path}/out", "s"), [])


@pytest.fixture
def stop() -> Stop:
    asked = Stop("again", lambda _: None)
    asked.settle()
    asked.say = lambda _: None
    return asked


def last_epoch(seconds: float) -> dict[str, EpochDone]:
    return {"outcome": EpochDone(4, {"val/miou": 0.5, EPOCH_SECONDS: seconds}, last=True)}


def test_as_many_live_as_there_is_room_for_and_a_node_that_joins_is_used(session: Session, stop: Stop) -> None:
    cluster = AmpleCluster(slots=2)
    searcher = searcher_of(session, stop, cluster=cluster)
    assert [searcher.suggest(name) is not None for name in "abc"] == [True, True, False]
    cluster.slots = 3
    assert searcher.suggest("c") is not None
    cluster.slots = 1
    searcher.on_trial_complete("a", last_epoch(1))  # type: ignore[arg-type]
    assert searcher.suggest("d") is None, "two live on, and one has room"
    searcher.on_trial_complete("b", last_epoch(1))  # type: ignore[arg-type]
    searcher.on_trial_complete("c", last_epoch(1))  # type: ignore[arg-type]
    assert searcher.suggest("d") is not None


def test_one_trial_waits_where_the_cluster_grows_on_demand(session: Session, stop: Stop) -> None:
    cluster = AmpleCluster(slots=0, grows=True)
    searcher = searcher_of(session, stop, cluster=cluster)
    assert [searcher.suggest(name) is not None for name in "ab"] == [True, False]
    cluster.slots = 1
    assert [searcher.suggest(name) is not None for name in "bc"] == [True, False]


def test_no_trial_begins_that_would_keep_no_epoch(session: Session, stop: Stop) -> None:
    stop.bounded = True
    deadline = Deadline(time.time() + WRITING_S + START_S + 30)
    searcher = searcher_of(session, stop, deadline=deadline)
    assert [searcher.suggest(name) is not None for name in "ab"] == [True, True], "no epoch has been seen yet"
    assert not stop.progressed
    searcher.on_trial_complete("a", last_epoch(10))  # type: ignore[arg-type]
    assert stop.progressed
    assert searcher.suggest("c") is not None, "an epoch of 10 s fits into 30 s"
    searcher.on_trial_complete("b", last_epoch(25))  # type: ignore[arg-type]
    assert searcher.suggest("d") is None, "one of 25 s might not; c is still at work"
    assert not stop.requested
    searcher.on_trial_complete("c", last_epoch(25))  # type: ignore[arg-type]
    assert searcher.suggest("d") == Searcher.FINISHED
    assert stop.exit_code == 75
    assert "its time ends at 2" in str(stop.why)


def test_the_launch_asks_to_stop_in_time(stop: Stop) -> None:
    with Deadline(time.time() + WRITING_S + 0.5).asking(stop, grace_s=0):
        end = time.monotonic() + 20
        while not stop.requested and time.monotonic() < end:
            time.sleep(0.05)
    assert (stop.requested, stop.bounded) == (True, False)
    assert stop.exit_code == 75


def test_nobody_asks_where_nobody_said_when(stop: Stop) -> None:
    with Deadline().asking(stop, grace_s=1e9):
        time.sleep(0.1)
    assert not stop.requested


def test_without_a_budget_no_result_looks_at_all_that_live(
    session: Session, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(_session: Session) -> None:
        raise AssertionError("every live trial is looked at")

    monkeypatch.setattr(Session, "live_epochs", property(asked))
    assert searcher_of(session, stop).suggest("a") is not None
