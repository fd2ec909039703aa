"""The tracker in a process of its own: it does what the tracker does, whatever becomes of that process."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from fake_study import FakeStudy
from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.tracking import LoadingProcess, TrackerApart, tracker_apart
from orchestrator.tracking.tracker_orders import Hurry, Told

CONFIG: Any = {"train": {"epochs": 3}, "model": {"arch": "fpn"}, "data": {"name": "shapes"}, "seed": 3}
EACH_ONCE = [(1, 0.1), (2, 0.2), (3, 0.3)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tracker_apart, "RETRY_SECONDS", 0.05)
    monkeypatch.chdir(tmp_path)


def record(key: str = "search-0000", epochs: int = 3) -> Record:
    planned = Planned(key, "search", 0, CONFIG, {})
    known = Record(planned, tuple({"val/miou": epoch / 10} for epoch in range(1, epochs + 1)))
    return known.ended(State.COMPLETE) if known.whole else known


def children(uri: str) -> dict[str, Run]:
    client = MlflowClient(uri)
    found = client.get_experiment_by_name("exp")
    assert found is not None
    runs = client.search_runs([found.experiment_id])
    assert len(runs) == len({run.data.tags.get("trial") for run in runs}), "one of a trial, and the parent"
    assert {run.info.status for run in runs} == {"FINISHED"}
    return {run.data.tags["trial"]: run for run in runs if "trial" in run.data.tags}


def history(uri: str, run: Run) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in MlflowClient(uri).get_metric_history(run.info.run_id, "val/miou")]


def until(holds: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert holds()


def process_of(parent: int | None = None) -> psutil.Process:
    [process] = [
        child
        for child in psutil.Process(parent).children()
        if "orchestrator.tracking.tracker_process" in child.cmdline()
    ]
    return process


def test_mlflow_gets_each_epoch_once_and_the_process_ends(uri: str) -> None:
    tracked = TrackerApart(uri, FakeStudy())
    for epochs in (0, 1, 2, 3):
        tracked.update(record(epochs=epochs))
        tracked.update(record("search-0001", epochs))
        time.sleep(0.2)
    until(lambda: tracked.page)
    process = process_of()
    tracked.begin_to_close(status="FINISHED", summary={"val/miou/final": 0.3}, hurried=lambda: False)
    assert tracked.close(status="FINISHED", summary={}) is None
    assert tracked.close(status="FINISHED", summary={}) is None, "the same end"
    assert not process.is_running()
    assert tracked.page is not None
    assert tracked.page.startswith("http://127.0.0.1:5000/#/experiments/1/runs?")
    found = children(uri)
    assert [history(uri, found[key]) for key in ("search-0000", "search-0001")] == [EACH_ONCE, EACH_ONCE]
    parent = MlflowClient(uri).get_run(found["search-0000"].data.tags["mlflow.parentRunId"])
    assert parent.data.metrics == {"val/miou/final": 0.3}


def test_a_process_that_loads_is_taken_or_ended(uri: str) -> None:
    taken, left = LoadingProcess(), LoadingProcess()
    tracked = TrackerApart(uri, FakeStudy(), taken)
    tracked.update(record())
    for process in (taken, left):
        process.close()
    assert left.process.poll() is not None
    assert taken.process.poll() is None
    assert tracked.close(status="FINISHED", summary={}) is None
    assert taken.process.poll() == 0, "no other was needed"
    assert history(uri, children(uri)["search-0000"]) == EACH_ONCE


def test_only_new_epochs_are_told() -> None:
    told: dict[str, Any] = {}
    news = [tracker_apart._news(record(epochs=epochs), told, 1.0) for epochs in (1, 3)]
    assert [len(told.record.epochs) for told in news] == [1, 2]
    assert [told.known for told in news] == [0, 1]
    again = Record(record().planned, ({"val/miou": 0.7},))  # an attempt that began anew
    assert tracker_apart._news(again, told, 1.0) == Told(again, 0, 1.0)


@pytest.mark.integration
@pytest.mark.parametrize("closing", [False, True])
def test_another_takes_the_place_of_one_that_is_killed(uri: str, closing: bool) -> None:
    tracked = TrackerApart(uri, FakeStudy())
    tracked.update(record(epochs=2))
    until(lambda: tracked.page)
    if closing:
        tracked.update(record())
        tracked.begin_to_close(status="FINISHED", summary={}, hurried=lambda: False)
    process_of().kill()
    tracked.update(record())
    assert tracked.close(status="FINISHED", summary={}) is None
    assert tracked.lag is None
    assert history(uri, children(uri)["search-0000"]) == EACH_ONCE


def broken(*_: object) -> FakeStudy:
    raise ValueError("it cannot be built")


class Broken(FakeStudy):
    def __reduce__(self) -> tuple[Callable[..., FakeStudy], tuple[str]]:
        return broken, ("in that process",)


@pytest.mark.integration
def test_a_process_that_always_dies_is_told_and_stops_nobody(uri: str) -> None:
    tracked = TrackerApart(uri, Broken())
    tracked.update(record())
    until(lambda: tracked.lag)
    why = "the process that tells it ended with 1: ValueError: it cannot be built"
    assert tracked.lag == f"MLflow is behind ({why})"
    assert (
        tracked.close(status="FINISHED", summary={}) == f"MLflow at {uri} is behind: {why}; the records hold everything"
    )


class Unpicklable(FakeStudy):
    def __reduce__(self) -> tuple[Callable[..., FakeStudy], tuple[str]]:
        raise TypeError("cannot pickle a lock")


@pytest.mark.integration
def test_what_cannot_be_told_is_no_success(uri: str) -> None:
    tracked = TrackerApart(uri, Unpicklable())
    tracked.update(record())
    problem = tracked.close(status="FINISHED", summary={})
    assert problem is not None
    assert "cannot pickle a lock" in problem


@pytest.mark.integration
def test_a_process_that_is_stuck_stops_nobody(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker_apart, "SILENT_SECONDS", 1.0)
    tracked = TrackerApart(uri, FakeStudy())
    tracked.update(record(epochs=1))
    until(lambda: tracked.page)
    process = process_of()
    process.suspend()
    try:
        said = f"MLflow at {uri} is behind: no answer; the records hold everything"
        assert tracked.close(status="FINISHED", summary={}, patience=1) == said
    finally:
        process.kill()


def test_a_server_that_hangs_stops_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=20) as server:
        tracked = TrackerApart(f"http://127.0.0.1:{server.getsockname()[1]}", FakeStudy())
        began = time.monotonic()
        for number in range(200):
            tracked.update(record(f"search-{number:04d}", 1))
        assert time.monotonic() - began < 1
        problem = tracked.close(status="FINISHED", summary={}, patience=1)
        assert problem is not None
        assert "no answer" in problem


@pytest.mark.integration
def test_a_stop_that_comes_late_is_told() -> None:
    stopped: list[bool] = []
    tracked = TrackerApart("sqlite:///none.db", FakeStudy())
    tracked.begin_to_close(status="FINISHED", summary={}, hurried=lambda: bool(stopped))
    until(lambda: tracked._orders and not tracked._untold)
    assert not tracked._is_ordered(Hurry)
    stopped.append(True)
    until(lambda: tracked._is_ordered(Hurry))
    said = "MLflow has no files and tables: the launch was stopped"
    assert tracked.close(status="FINISHED", summary={}) == said
    assert [type(order) for order in tracked._orders].count(Hurry) == 1


@pytest.mark.integration
def test_it_ends_with_a_killed_driver_which_imports_no_mlflow() -> None:
    code = """
import sys, time
from fake_study import FakeStudy
from orchestrator.store.trial_record import Planned, Record
from orchestrator.tracking import TrackerApart
config = {"train": {"epochs": 1}, "model": {}, "data": {"name": "shapes"}, "seed": 3}
tracked = TrackerApart("sqlite:///none.db", FakeStudy())
tracked.update(Record(Planned("search-0000", "search", 0, config, {})))
while tracked.page is None:
    time.sleep(0.1)
print("mlflow" in sys.modules, "sqlalchemy" in sys.modules, flush=True)
time.sleep(300)
"""
    found = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=found) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "False False\n"
        process = process_of(driver.pid)
        driver.kill()
        psutil.wait_procs([process], timeout=60)
        assert not process.is_running()
