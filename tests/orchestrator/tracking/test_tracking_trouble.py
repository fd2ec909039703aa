"""MLflow in trouble, and values that it does not take: nothing is lost, nothing is written twice, nobody waits."""

import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import mlflow.exceptions
import pytest
from fake_study import FakeStudy
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.tracking import Tracker
from orchestrator.tracking import tracker as tracker_module
from orchestrator.tracking.database import ensure_database
from orchestrator.tracking.entries import key_of

CONFIG = {"train": {"epochs": 3, "lr": 0.01}, "data": {"name": "shapes"}, "seed": 3}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tracker_module, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(tracker_module, "TOGETHER_SECONDS", 0.05)
    monkeypatch.chdir(tmp_path)


def info(**changes: Any) -> FakeStudy:
    return FakeStudy(**{"settings": {"search": {"trials": 2}}, **changes})


def record(key: str = "search-0000", epochs: int = 3, config: dict[str, Any] | None = None) -> Record:
    planned = Planned(key, "search", 0, CONFIG | (config or {}), {})
    known = Record(planned, tuple({"val/miou": epoch / 10, "train/loss": 1.0} for epoch in range(1, epochs + 1)))
    return known.ended(State.COMPLETE) if known.whole else known


def children(uri: str, experiment: str = "exp") -> dict[str, Run]:
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs = client.search_runs([found.experiment_id])
    keys = [run.data.tags["trial"] for run in runs if "trial" in run.data.tags]
    assert len(keys) == len(set(keys)), "a trial with two runs"
    assert sum(run.data.tags["kind"] == "study" for run in runs) == 1
    return {run.data.tags["trial"]: run for run in runs if "trial" in run.data.tags}


def history(uri: str, run: Run, metric: str = "val/miou") -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in MlflowClient(uri).get_metric_history(run.info.run_id, metric)]


EACH_ONCE = [(1, 0.1), (2, 0.2), (3, 0.3)]


class Failing:
    """Makes calls of a client's method fail, after or instead of their work."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, name: str, fails: Callable[[int], bool], *, after: bool
    ) -> None:
        original, self.calls = getattr(MlflowClient, name), 0

        def call(client: MlflowClient, *args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            fail = fails(self.calls)
            done = original(client, *args, **kwargs) if after or not fail else None
            if fail:
                raise mlflow.exceptions.MlflowException("API request failed with error code 500")
            return done

        monkeypatch.setattr(MlflowClient, name, call)


@pytest.mark.parametrize("name", ["log_batch", "create_run", "set_terminated", "log_inputs"])
@pytest.mark.parametrize("after", [True, False], ids=["answer lost", "refused"])
def test_every_epoch_arrives_once_whatever_request_fails(
    uri: str, monkeypatch: pytest.MonkeyPatch, name: str, after: bool
) -> None:
    failing = Failing(monkeypatch, name, lambda call: call < 4, after=after)
    tracked = Tracker(uri, info())
    for epoch in (1, 2, 3):
        tracked.update(record(epochs=epoch))
        time.sleep(0.05)
    tracked.update(record("search-0001", 2))
    time.sleep(0.5)
    assert tracked.close(status="FINISHED", summary={}) is None
    assert failing.calls > 1
    found = children(uri)
    assert found.keys() == {"search-0000", "search-0001"}
    assert history(uri, found["search-0000"]) == EACH_ONCE
    assert history(uri, found["search-0001"]) == EACH_ONCE[:2]
    assert found["search-0000"].info.status == "FINISHED"


def test_what_happens_meanwhile_is_written_together(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker_module, "TOGETHER_SECONDS", 60.0)
    requests = Failing(monkeypatch, "log_batch", lambda _call: False, after=False)
    tracked = Tracker(uri, info())
    tracked.update(record(epochs=1))
    deadline = time.monotonic() + 20
    while (tracked.behind or not tracked.page) and time.monotonic() < deadline:
        time.sleep(0.05)
    before = requests.calls
    for epochs in (2, 3):
        tracked.update(record(epochs=epochs))
        time.sleep(0.1)
    assert requests.calls == before
    assert tracked.close(status="FINISHED", summary={}) is None
    assert requests.calls == before + 1
    assert history(uri, children(uri)["search-0000"]) == EACH_ONCE


def test_being_behind_is_told_while_it_lasts(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    down = [True]
    Failing(monkeypatch, "log_batch", lambda _call: down[0], after=False)
    tracked = Tracker(uri, info())
    tracked.update(record(epochs=2))
    tracked.update(record("search-0001", 1))
    deadline = time.monotonic() + 20
    while tracked.lag is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert tracked.lag == "MLflow is behind by 3 epochs of 2 trials (API request failed with error code 500)"
    down[0] = False
    while tracked.lag is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert tracked.lag is None
    assert tracked.close(status="FINISHED", summary={}) is None
    assert history(uri, children(uri)["search-0000"]) == EACH_ONCE[:2]


@pytest.fixture
def silent_server() -> Iterator[int]:
    """Accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=20) as server:
        yield server.getsockname()[1]


def test_a_server_that_hangs_stops_nobody(silent_server: int) -> None:
    tracked = Tracker(f"http://127.0.0.1:{silent_server}", info())
    began = time.monotonic()
    for number in range(200):
        tracked.update(record(f"search-{number:04d}", 1))
    assert time.monotonic() - began < 1
    told = tracked.close(status="FINISHED", summary={}, patience=1)
    assert time.monotonic() - began < 5
    assert told is not None
    assert "no answer" in told


def test_a_failing_artifact_store_costs_no_metric(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise mlflow.exceptions.MlflowException("API request failed with error code 500")

    monkeypatch.setattr(LocalArtifactRepository, "log_artifacts", fail)
    tracked = Tracker(uri, info())
    tracked.update(record())
    told = tracked.close(status="FINISHED", summary={})
    assert told is not None
    assert "MLflow has no files of search-0000: API request failed" in told
    assert history(uri, children(uri)["search-0000"]) == EACH_ONCE
    monkeypatch.undo()  # the next launch brings what is missing
    monkeypatch.chdir(Path(uri.removeprefix("sqlite:///")).parent)
    written: list[str] = []
    again = Tracker(uri, info(write_trial=lambda trial, _folder: written.append(trial.key)))
    again.update(record())
    assert again.close(status="FINISHED", summary={}) is None
    assert written == ["search-0000"]


def test_long_values_and_many_params(uri: str) -> None:
    many = {"model": {f"setting_{number}": number for number in range(250)}, "long": "x" * 7000}
    tracked = Tracker(uri, info())
    tracked.update(record(config=many))
    assert tracked.close(status="FINISHED", summary={}) is None
    found = children(uri)["search-0000"].data.params
    assert [found[f"model.setting_{number}"] for number in range(250)] == [str(number) for number in range(250)]
    assert found["long"] == "x" * 6000


def test_values_that_are_no_finite_numbers(uri: str) -> None:
    values = [math.nan, math.inf, -math.inf]
    trial = Record(record().planned, tuple({"val/miou": 0.5, "train/loss": value} for value in values))
    tracked = Tracker(uri, info())
    tracked.update(trial.ended(State.COMPLETE))
    assert tracked.close(status="FINISHED", summary={}) is None
    found = children(uri)["search-0000"]
    shown = history(uri, found, "train/loss")
    assert [step for step, _ in shown] == [1, 2, 3]
    assert math.isnan(shown[0][1])
    assert shown[1][1] > 1e300
    assert shown[2][1] < -1e300
    assert found.data.metrics["val/miou/best"] == found.data.metrics["val/miou/final"] == 0.5


def test_names_that_mlflow_refuses(uri: str) -> None:
    names = ["val/iou/Straße (nass)", "val/iou/Stra_e _nass_", "val/iou/" + "x" * 300]
    trial = Record(record().planned, ({name: float(number) for number, name in enumerate(names)},) * 3)
    tracked = Tracker(uri, info())
    tracked.update(trial.ended(State.COMPLETE))
    assert tracked.close(status="FINISHED", summary={}) is None
    found = children(uri)["search-0000"]
    for number, name in enumerate(names):
        assert history(uri, found, key_of(name)) == [(step, float(number)) for step in (1, 2, 3)]


def test_a_trial_that_mlflow_refuses_holds_up_no_other(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = MlflowClient.log_batch

    def refuse(client: MlflowClient, run_id: str, **kwargs: Any) -> None:
        if any(param.value == "bad" for param in kwargs["params"]):
            raise mlflow.exceptions.MlflowException("no such value", error_code=1000)  # INVALID_PARAMETER_VALUE
        original(client, run_id, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", refuse)
    tracked = Tracker(uri, info())
    tracked.update(record("search-0000", config={"x": "bad"}))
    tracked.update(record("search-0001"))
    told = tracked.close(status="FINISHED", summary={})
    assert told == "MLflow refused 1 trials, search-0000 because no such value"
    assert history(uri, children(uri)["search-0001"]) == EACH_ONCE


def test_a_deleted_experiment_of_the_same_name_stays_deleted(uri: str) -> None:
    client = MlflowClient(uri)
    client.delete_experiment(client.create_experiment("exp"))
    for _ in range(2):  # the second launch finds the runs of the first
        tracked = Tracker(uri, info())
        tracked.update(record())
        assert tracked.close(status="FINISHED", summary={}) is None
    assert history(uri, children(uri, "exp-2")["search-0000"]) == EACH_ONCE


def test_a_read_only_store_is_told_in_one_line(uri: str, tmp_path: Path) -> None:
    tracked = Tracker(f"sqlite:///file:{tmp_path}/mlflow.db?mode=ro&uri=true", info())
    tracked.update(record())
    told = tracked.close(status="FINISHED", summary={})
    assert told is not None
    assert "readonly" in told
    assert "\n" not in told


def test_no_password_is_logged(uri: str) -> None:
    secret = {"tracking": {"uri": "https://me:hunter2@mlflow.example/x"}}
    tracked = Tracker(uri, info(settings=secret))
    tracked.update(record(config={"data": {"name": "camvid", "root": "s3://key:hunter2@bucket/x"}}))
    assert tracked.close(status="FINISHED", summary={}) is None
    assert b"hunter2" not in Path(uri.removeprefix("sqlite:///")).read_bytes()


@pytest.fixture
def forbidding_server() -> Iterator[tuple[str, list[str]]]:
    """Refuses every request; yields its address and the Authorization headers that it gets."""
    seen: list[str] = []

    class Refuse(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization", ""))
            self.send_error(401)

        do_POST = do_GET

        def log_message(self, *_args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()


@pytest.mark.parametrize(
    ("variables", "header"),
    [
        ({"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "hunter2"}, "Basic bWU6aHVudGVyMg=="),
        ({"MLFLOW_TRACKING_TOKEN": "hunter2"}, "Bearer hunter2"),
    ],
)
def test_credentials_come_from_mlflows_own_variables(
    forbidding_server: tuple[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    header: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    address, seen = forbidding_server
    tracked = Tracker(address, info())
    tracked.update(record())
    told = tracked.close(status="FINISHED", summary={})
    assert set(seen) == {header}
    assert told is not None
    assert "401" in told
    assert "hunter2" not in told


@pytest.mark.integration
def test_a_process_killed_while_it_creates_the_database_leaves_none(tmp_path: Path) -> None:
    code = (
        "import os, sys; from mlflow.store.db import utils; "
        "from orchestrator.tracking.database import ensure_database; "
        "utils._upgrade_db = lambda engine: os._exit(9); "
        "ensure_database(sys.argv[1])"
    )
    address = f"sqlite:///{tmp_path}/new.db"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    killed = subprocess.run([sys.executable, "-c", code, address], env=environment, check=False)
    assert killed.returncode == 9, "it got as far as the tables"
    assert not (tmp_path / "new.db").exists()
    ensure_database(address)
    before = (tmp_path / "new.db").read_bytes()
    ensure_database(address)
    assert (tmp_path / "new.db").read_bytes() == before
    assert MlflowClient(address).get_experiment_by_name("Default") is not None
