"""A study while the MLflow server is away: it ends well, and afterwards the server's histories equal the records."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tracking_server import mlflow_server

from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record, State

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[3]
STUDY = """
study: s
objective: {metric: val/miou, mode: max}
data: {name: shapes}
model: {arch: fpn, encoder: resnet18, encoder_weights: null}
train: {epochs: 4, batch_size: 20}
suppression: {p_max: {uniform: [0.0, 1.0]}}
search: {sampler: random, trials: 6, references: []}
resources: {max_concurrent: 2}
tracking: {model: false}
"""


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def launch(folder: Path, port: int) -> subprocess.Popen[str]:
    """The sweep in a process of its own, with trials of three seconds that train nothing."""
    (folder / "s.yaml").write_text(STUDY)
    (folder / "gate").touch()
    code = (
        "import sys; from orchestrator.launch import one_launch as launch; from orchestrator.studyfile import load; "
        "target = launch.Target(fit='more_fits:gated'); "
        "sys.exit(launch.launch(load('s.yaml'), storage='out', target=target, command='again'))"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parents[1])]),
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
        "GATE": str(folder / "gate"),
    }
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


def wait_for(folder: Path, ended: int) -> None:
    store = Store(str(folder / "out"), "s")
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if sum(record.state.final for record in store.records()) >= ended:
            return
        time.sleep(0.2)
    raise AssertionError(f"{ended} trials did not end")


def check_histories(folder: Path, port: int) -> None:
    """As many runs as trials, none running, every epoch once with the record's value."""
    records: list[Record] = Store(str(folder / "out"), "s").records()
    assert [record.state for record in records] == [State.COMPLETE] * 6
    client = MlflowClient(f"http://127.0.0.1:{port}")
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    ids = {run.data.tags["trial"]: run.info.run_id for run in runs if "trial" in run.data.tags}
    assert sorted(ids) == [record.key for record in records]
    assert len(runs) == len(records) + 1
    for record in records:
        for metric in ("val/miou", "train/loss"):
            history = [(point.step, point.value) for point in client.get_metric_history(ids[record.key], metric)]
            assert history == [(epoch, metrics[metric]) for epoch, metrics in enumerate(record.epochs, start=1)]


@pytest.mark.timeout(240)
def test_a_server_killed_for_the_middle_third(tmp_path: Path, port: int) -> None:
    with mlflow_server(tmp_path, port):
        study = launch(tmp_path, port)
        wait_for(tmp_path, ended=2)
    wait_for(tmp_path, ended=4)
    (tmp_path / "gate").unlink()  # what runs now ends after the server is back
    with mlflow_server(tmp_path, port):
        (tmp_path / "gate").touch()
        out, _ = study.communicate(timeout=120)
        assert study.returncode == 0, out
        assert "Traceback" not in out
        check_histories(tmp_path, port)


@pytest.mark.timeout(240)
def test_a_server_absent_from_the_start_to_the_end(tmp_path: Path, port: int) -> None:
    study = launch(tmp_path, port)
    out, _ = study.communicate(timeout=150)
    assert study.returncode == 0, out
    assert "Traceback" not in out
    assert "MLflow is behind by" in out, "while the study ran"
    assert " -m orchestrator.track s" in out
    with mlflow_server(tmp_path, port):
        command = [sys.executable, "-m", "orchestrator.track", "s", "--storage", "out"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
        sent = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert sent.returncode == 0, sent.stdout + sent.stderr
        assert "has all 6 trials and 24 epochs" in sent.stdout
        check_histories(tmp_path, port)
