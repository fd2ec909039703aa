"""What has piled up while MLflow was away: few requests and transactions, and each epoch once whatever happens."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from fake_study import FakeStudy
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from sqlalchemy import event
from sqlalchemy.engine import Engine

from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.tracking import Tracker
from orchestrator.tracking.entries import RunEntries
from orchestrator.tracking.side_by_side import side_by_side
from orchestrator.tracking.transactions import Transactions

CONFIG = {"train": {"epochs": 2, "lr": 0.01}, "data": {"name": "shapes"}, "seed": 3}
TRIALS = 40


def complete(number: int, epochs: int = 2) -> Record:
    planned = Planned(f"search-{number:04d}", "search", number, CONFIG, {})
    return Record(planned, tuple({"val/miou": epoch / 10} for epoch in range(1, epochs + 1))).ended(State.COMPLETE)


def send(uri: str, trials: int = TRIALS) -> None:
    tracked = Tracker(uri, FakeStudy())
    for number in range(trials):
        tracked.update(complete(number))
    assert tracked.close(status="FINISHED", summary={}) is None


def histories(uri: str) -> dict[str, list[int]]:
    """The steps of each trial's objective; no trial has two runs."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("exp")
    assert experiment is not None
    runs = [run for run in client.search_runs([experiment.experiment_id]) if "trial" in run.data.tags]
    steps = {
        run.data.tags["trial"]: [point.step for point in client.get_metric_history(run.info.run_id, "val/miou")]
        for run in runs
    }
    assert len(steps) == len(runs)
    return steps


EACH_ONCE = {f"search-{number:04d}": [1, 2] for number in range(TRIALS)}


@pytest.fixture
def commits(uri: str) -> Iterator[list[str]]:
    """A line for each time that a database commits."""
    lines: list[str] = []

    def note(_connection: Any) -> None:
        lines.append("commit")

    event.listen(Engine, "commit", note)
    yield lines
    event.remove(Engine, "commit", note)


def test_trials_go_to_a_database_together(uri: str, commits: list[str]) -> None:
    send(uri)
    of_files, of_study = TRIALS, 15  # a trial's files are kept one by one
    assert len(commits) < of_files + of_study
    assert histories(uri) == EACH_ONCE


def test_an_error_undoes_what_was_written_with_it(uri: str) -> None:
    client = MlflowClient(uri)
    experiment, transactions = client.create_experiment("x"), Transactions(client)

    def fail() -> None:
        with transactions.joined():
            client.create_run(experiment)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not client.search_runs([experiment])
    with transactions.joined():
        client.create_run(experiment)
    assert len(client.search_runs([experiment])) == 1


def test_a_metric_that_is_there_costs_no_other_of_its_transaction(uri: str) -> None:
    client = MlflowClient(uri)
    run = client.create_run(client.create_experiment("x")).info.run_id
    first, second = (Metric("m", 0.5, 1000, step) for step in (1, 2))
    client.log_batch(run, [first])
    with Transactions(client).joined():
        client.set_tag(run, "before", "1")
        client.log_batch(run, [first, second])
        client.set_tag(run, "after", "1")
    assert [point.step for point in client.get_metric_history(run, "m")] == [1, 2]
    assert {"before", "after"} <= client.get_run(run).data.tags.keys()


def test_another_thread_has_no_part_in_a_transaction(uri: str) -> None:
    client = MlflowClient(uri)
    experiment, seen = client.create_experiment("x"), list[int]()
    with Transactions(client).joined():
        client.create_run(experiment)
        reader = threading.Thread(target=lambda: seen.append(len(client.search_runs([experiment]))))
        reader.start()
        reader.join()
    assert (seen, len(client.search_runs([experiment]))) == ([0], 1)


def test_a_long_transaction_lets_others_write(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.tracking.transactions.MOST_SECONDS", 0.0)
    client = MlflowClient(uri)
    experiment, transactions, seen = client.create_experiment("x"), Transactions(client), list[int]()
    with transactions.joined():
        client.create_run(experiment)
        transactions.breathe()
        reader = threading.Thread(target=lambda: seen.append(len(client.search_runs([experiment]))))
        reader.start()
        reader.join()
    assert seen == [1]


KILLED = """
import os, signal
from mlflow import MlflowClient
from test_piled_up import send

write, calls = MlflowClient.log_batch, []

def die(client, *args, **kwargs):
    write(client, *args, **kwargs)
    calls.append(1)
    if len(calls) == 12:
        os.kill(os.getpid(), signal.SIGKILL)

MlflowClient.log_batch = die
send({uri!r})
"""


def test_a_launch_that_is_killed_in_the_middle_is_completed_by_the_next(uri: str) -> None:
    places = [str(Path(__file__).parents[3]), str(Path(__file__).parents[2]), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    killed = subprocess.run([sys.executable, "-c", KILLED.format(uri=uri)], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    send(uri)
    assert histories(uri) == EACH_ONCE


def test_a_server_gets_several_trials_at_a_time_and_their_data_set_alone(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Transactions, "of_database", False)  # as of a server
    monkeypatch.setattr(Transactions, "joined", lambda _: nullcontext())
    create, log_inputs = MlflowClient.create_run, MlflowClient.log_inputs
    meeting, new, counts = threading.Barrier(4, timeout=10), threading.Lock(), list[int]()
    beside: list[int] = []

    def meet(client: MlflowClient, *args: Any, **kwargs: Any) -> Any:
        if threading.current_thread().name == "mlflow" and kwargs["tags"].get("trial"):
            meeting.wait()
        with new:  # SQLite takes one at a time
            return create(client, *args, **kwargs)

    def count(client: MlflowClient, *args: Any, **kwargs: Any) -> None:
        counts.append(1)
        if len(counts) == 1:
            time.sleep(0.3)
            beside.append(len(counts) - 1)
        log_inputs(client, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "create_run", meet)
    monkeypatch.setattr(MlflowClient, "log_inputs", count)
    send(uri, trials=4)
    assert beside == [0], "another request brought the data set too"
    assert histories(uri) == {key: EACH_ONCE[key] for key in list(EACH_ONCE)[:4]}


def test_pieces_hold_what_mlflow_takes_at_once() -> None:
    metrics = [Metric("m", 0.0, 1, step) for step in range(2500)]
    entries = RunEntries(metrics, [Param(f"p{n}", "1") for n in range(130)], [RunTag("state", "complete")])
    pieces = list(entries.pieces())
    assert [(len(piece.metrics), len(piece.params), len(piece.tags)) for piece in pieces] == [
        (900, 100, 0), (970, 30, 0), (630, 0, 1),
    ]  # fmt: skip
    assert [metric.step for piece in pieces for metric in piece.metrics] == list(range(2500))


def test_several_are_at_work_at_a_time() -> None:
    meeting, done = threading.Barrier(3, timeout=10), list[int]()

    def work(item: int) -> None:
        meeting.wait()
        done.append(item)

    side_by_side(work, range(3), threads=3)
    assert sorted(done) == [0, 1, 2]


def test_after_an_error_nothing_new_is_begun_and_nothing_is_at_work() -> None:
    begun, ended, both = list[int](), list[int](), threading.Barrier(2, timeout=10)

    def work(item: int) -> None:
        begun.append(item)
        both.wait()
        if item == 0:
            raise KeyError(item)
        time.sleep(0.1)
        ended.append(item)

    with pytest.raises(KeyError):
        side_by_side(work, range(10), threads=2)
    assert (sorted(begun), ended) == ([0, 1], [1])
