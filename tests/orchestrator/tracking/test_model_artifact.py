"""The best trial's network as an MLflow model: loads without this project, takes other images, is logged once."""

import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import psutil
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelStatus, Metric
from mlflow.exceptions import MlflowException
from safetensors.torch import load_file
from tracking_server import mlflow_server

from orchestrator.plan.planner import Planner
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import load
from orchestrator.tracking.model import NAME, log_best_model
from orchestrator.tracking.model_files import save_model, trained_network
from orchestrator.tracking.model_writer import ModelWriter, NoModelError, Wanted
from orchestrator.worker.attempt import Attempt
from orchestrator.worker.job import Job
from trainable.config import TrialConfig
from trainable.model.build import build_model
from trainable.model.export import folded
from trainable.train.checkpoint import from_bytes
from trainable.train.compute import Normalization

pytestmark = pytest.mark.integration  # processes log and load models

STUDY = """
study: s
objective: {metric: val/miou, mode: max}
data: {name: shapes, size: [32, 32], train_images: 8, val_images: 4}
model: {arch: ARCH}
train: {epochs: 1, batch_size: 4, lr: 6.0e-3}
suppression: {layer: LAYER, p_max: 0.7}
search: {trials: 1, references: []}
"""
PLAIN = "linknet, encoder: tu-test_resnet, encoder_weights: null"
HRNET = "hrnet, encoder: tu-hrnet_w18_small, encoder_weights: null"
CARRIED = "linknet, encoder: efficientnet-b0, encoder_weights: null"
LOAD = """
import json, sys
import numpy, torch
import mlflow.pytorch
sys.path[:] = [entry for entry in sys.path if "site-packages" in entry or "lib/python" in entry]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in str(finder)]
model = mlflow.pytorch.load_model(sys.argv[1])
images = torch.from_numpy(numpy.load(sys.argv[2]))
numpy.save(sys.argv[3], model(images).detach().numpy())
print(json.dumps([sys.modules[n].__file__ for n in ("trainable", "orchestrator") if n in sys.modules]))
"""


def train(folder: Path, arch: str) -> tuple[Store, Record]:
    """A real trial of an epoch, its checkpoint kept."""
    layer = "[branch.2, decoder]" if arch == HRNET else "encoder.4"
    (folder / "s.yaml").write_text(STUDY.replace("ARCH", arch).replace("LAYER", layer))
    store = Store(str(folder / "out"), "s")
    planned = Planner(load(folder / "s.yaml", env={})).next()
    assert planned is not None
    store.plan(planned)
    attempt = Attempt(Job(planned, store.storage, "s", "x", "trainable.train.engine:fit"))
    done = attempt.next_epoch()
    attempt.close()
    assert done.last
    record = Record(planned, (done.metrics,)).ended(State.COMPLETE)
    store.judge(record, {})
    return store, record


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Record]:
    return train(tmp_path_factory.mktemp("trained"), PLAIN)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"
    MlflowClient(uri).search_experiments()
    return uri


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with mlflow_server(tmp_path_factory.mktemp("server"), port) as address:
        yield address


def a_run(client: MlflowClient, folder: Path, record: Record) -> str:
    """A run as the tracker leaves it; artifacts of a database go to the test's folder."""
    name = f"experiment of {folder}"
    place = folder.as_uri() if str(client.tracking_uri).startswith("sqlite") else None
    found = client.get_experiment_by_name(name)
    experiment = found.experiment_id if found else client.create_experiment(name, artifact_location=place)
    run_id = str(client.create_run(experiment).info.run_id)
    points = [Metric(key, value, 1234, len(record.epochs)) for key, value in record.epochs[-1].items()]
    client.log_batch(run_id, metrics=points)
    client.log_param(run_id, "train.lr", "0.006")
    return run_id


def expected_logits(store: Store, record: Record, images: np.ndarray) -> np.ndarray:
    config = TrialConfig.model_validate(record.planned.config, strict=False)
    checkpoint = store.read_checkpoint(record.key, store.checkpoints(record.key)[0])
    assert checkpoint is not None
    model = build_model(config.model, 6, config.suppression)
    model.load_state_dict(from_bytes(checkpoint.state)["model"])
    with torch.no_grad():
        logits: np.ndarray = folded(model, config.model)(torch.from_numpy(images)).numpy()
    return logits


def elsewhere(tmp_path: Path, uri: str, model: str, images: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Logits from a process that knows MLflow's address but not this project; and what it imported of it."""
    np.save(tmp_path / "images.npy", images)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", LOAD, model, str(tmp_path / "images.npy"), str(tmp_path / "logits.npy")]
    done = subprocess.run(
        command, cwd=tmp_path, env={**environment, "MLFLOW_TRACKING_URI": uri}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return np.load(tmp_path / "logits.npy"), json.loads(done.stdout.splitlines()[-1])


def images_of(batch: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(batch, 3, height, width)).astype(np.float32)


@pytest.mark.parametrize("arch", [PLAIN, HRNET])
def test_it_loads_without_this_project_and_takes_another_batch_and_another_size(
    arch: str, trained: tuple[Store, Record], database: str, tmp_path: Path
) -> None:
    store, record = trained if arch == PLAIN else train(tmp_path, arch)
    client = MlflowClient(database)
    address = log_best_model(client, a_run(client, tmp_path, record), store, record, register=None)
    assert address is not None
    images = images_of(3, 64, 96)  # trained at 32x32; the example holds one image
    logits, imported = elsewhere(tmp_path, database, address, images)
    assert imported == []
    assert logits.shape == (3, 6, 64, 96)
    np.testing.assert_allclose(logits, expected_logits(store, record, images), rtol=1e-4, atol=1e-5)


def test_it_is_a_model_of_its_run_with_signature_example_and_scores(
    trained: tuple[Store, Record], database: str, tmp_path: Path
) -> None:
    store, record = trained
    client = MlflowClient(database)
    run_id = a_run(client, tmp_path, record)
    before = client.get_metric_history(run_id, "val/miou")
    address = log_best_model(client, run_id, store, record, register=None)
    assert address is not None
    run = client.get_run(run_id)
    (output,) = run.outputs.model_outputs
    assert (f"models:/{output.model_id}", output.step) == (address, 1)
    logged = client.get_logged_model(output.model_id)
    assert (logged.name, logged.status, logged.source_run_id) == (NAME, LoggedModelStatus.READY, run_id)
    assert logged.params == {"train.lr": "0.006"}
    scores = {metric.key: metric.value for metric in logged.metrics}
    assert scores == {name: value for name, value in record.epochs[-1].items() if name.startswith("val/")}
    assert len(client.get_metric_history(run_id, "val/miou")) == len(before) == 1, "the run has no point twice"
    place = logged.artifact_location.removeprefix("file://")
    info = mlflow.models.Model.load(place)
    assert info.signature.inputs.inputs[0].shape == (-1, 3, -1, -1)
    assert info.signature.outputs.inputs[0].shape == (-1, 6, -1, -1)
    assert info.metadata["trial"] == record.key
    assert info.metadata["classes"][:2] == ["meadow", "sand"]
    assert info.load_input_example(place).shape == (1, 3, 32, 32)
    lines = Path(place, "requirements.txt").read_text().splitlines()
    assert {line.split("==")[0] for line in lines} == {
        "mlflow", "torch", "torchvision", "segmentation-models-pytorch", "timm", "numpy",
    }  # fmt: skip
    assert all("==" in line and "+" not in line for line in lines)


def test_it_says_how_images_are_normalised(
    trained: tuple[Store, Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, record = trained
    wanted = Normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    monkeypatch.setattr("orchestrator.tracking.model_files.input_statistics", lambda _: wanted)
    network = trained_network(store, record)
    assert network is not None
    save_model(network, tmp_path / NAME, store, record, LoggedModel("1", "m-1", NAME, str(tmp_path), 0, 0))
    metadata = mlflow.models.Model.load(str(tmp_path / NAME)).metadata
    assert (metadata["mean"], metadata["std"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])


def test_it_is_logged_and_registered_once(trained: tuple[Store, Record], database: str, tmp_path: Path) -> None:
    store, record = trained
    client = MlflowClient(database)
    run_id = a_run(client, tmp_path, record)
    first = log_best_model(client, run_id, store, record, register=None)
    for _ in range(2):
        assert log_best_model(client, run_id, store, record, register="twins") == first
    (version,) = client.search_model_versions("name = 'twins'")
    assert (version.version, version.run_id) == (1, run_id)
    weights = tmp_path / run_id / "artifacts/model.safetensors"
    weights.unlink()  # as an earlier version left the run
    assert log_best_model(client, run_id, store, record, register="twins") == first
    checkpoint = store.read_checkpoint(record.key, store.checkpoints(record.key)[0])
    assert checkpoint is not None
    classifier = from_bytes(checkpoint.state)["model"]["classifier.weight"]
    assert torch.equal(load_file(weights)["segmentation_head.0.weight"], classifier)
    (output,) = client.get_run(run_id).outputs.model_outputs
    linked = client.get_logged_model(output.model_id).tags["mlflow.modelVersions"]
    assert json.loads(linked) == [{"name": "twins", "version": 1}], "the model's page shows its version"
    other = a_run(client, tmp_path, record)
    assert log_best_model(client, other, store, record, register="twins") != first
    versions = client.search_model_versions("name = 'twins'")
    assert sorted(version.version for version in versions) == [1, 2]
    logits, _ = elsewhere(tmp_path, database, "models:/twins/2", images_of(1, 32, 32))
    assert logits.shape == (1, 6, 32, 32)


def test_a_model_that_could_not_be_written_is_marked_and_logged_anew(
    trained: tuple[Store, Record], database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, record = trained
    client = MlflowClient(database)
    run_id = a_run(client, tmp_path, record)

    def broken(*_: object) -> None:
        raise MlflowException("no room")

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_model_artifacts", broken)
        with pytest.raises(MlflowException, match="no room"):
            log_best_model(client, run_id, store, record, register=None)
    (output,) = client.get_run(run_id).outputs.model_outputs
    assert client.get_logged_model(output.model_id).status == LoggedModelStatus.FAILED
    address = log_best_model(client, run_id, store, record, register=None)
    assert address not in (None, f"models:/{output.model_id}")


def test_without_the_last_checkpoint_there_is_no_model(
    trained: tuple[Store, Record], database: str, tmp_path: Path
) -> None:
    store, record = trained
    client = MlflowClient(database)
    run_id = a_run(client, tmp_path, record)
    longer = replace(record, epochs=record.epochs * 2)
    assert log_best_model(client, run_id, store, longer, register="nothing") is None
    assert log_best_model(client, run_id, Store(str(tmp_path), "s"), record, register="nothing") is None
    assert client.search_model_versions("name = 'nothing'") == []


def test_what_is_not_plain_smp_carries_its_source(database: str, tmp_path: Path) -> None:
    store, record = train(tmp_path, CARRIED)
    client = MlflowClient(database)
    address = log_best_model(client, a_run(client, tmp_path, record), store, record, register=None)
    assert address is not None
    images = images_of(2, 64, 32)
    logits, imported = elsewhere(tmp_path, database, address, images)
    (source,) = imported
    assert not source.startswith(str(Path(__file__).parents[3])), "its own copy of the source, not this one"
    np.testing.assert_allclose(logits, expected_logits(store, record, images), rtol=1e-4, atol=1e-5)


def test_a_server_takes_it_and_nothing_of_the_process_changes(
    trained: tuple[Store, Record], server: str, tmp_path: Path
) -> None:
    store, record = trained
    client = MlflowClient(server)
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri(), mlflow.active_run()
    run_id = a_run(client, tmp_path, record)
    address = log_best_model(client, run_id, store, record, register="served")
    assert address == log_best_model(client, run_id, store, record, register="served")
    assert [version.run_id for version in client.search_model_versions("name = 'served'")] == [run_id]
    assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri(), mlflow.active_run()) == before
    for name in ("models:/served/1", f"runs:/{run_id}/{NAME}"):
        logits, imported = elsewhere(tmp_path, server, name, images_of(2, 64, 32))
        assert imported == []
        assert logits.shape == (2, 6, 64, 32)


@pytest.mark.parametrize("kept", [True, False])
def test_the_driver_imports_no_torch(kept: bool, trained: tuple[Store, Record], database: str, tmp_path: Path) -> None:
    """Where there is a network to log, and where the trial's checkpoint is gone."""
    code = """
import pickle, sys
from mlflow import MlflowClient
from orchestrator.tracking.model import log_best_model
from orchestrator.store.records import Store
client, (store, record) = MlflowClient(sys.argv[1]), (Store(sys.argv[2], "s"), pickle.load(sys.stdin.buffer))
run = client.create_run("0").info.run_id
print(log_best_model(client, run, store, record, register=None))
assert not {"torch", "segmentation_models_pytorch", "mlflow.pytorch"} & set(sys.modules)
"""
    store, record = trained
    call = [sys.executable, "-c", code, database, store.storage if kept else str(tmp_path)]
    said = subprocess.run(
        call, input=pickle.dumps(record), check=True, cwd=tmp_path, stdout=subprocess.PIPE
    ).stdout.decode()
    assert said.startswith("models:/" if kept else "None")


def test_what_writes_it_may_die(
    trained: tuple[Store, Record], database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, record = trained
    client = MlflowClient(database)
    run_id = a_run(client, tmp_path, record)

    with closing(ModelWriter()) as writer:
        writer.start()
        monkeypatch.setattr(writer, "start", lambda: writer._process and writer._process.kill())
        with pytest.raises(NoModelError, match="the process that writes it ended with -9"):
            log_best_model(client, run_id, store, record, register=None, writer=writer)
        monkeypatch.undo()
        assert log_best_model(client, run_id, store, record, register=None, writer=writer) is not None


def test_why_it_cannot_be_written_is_one_line(trained: tuple[Store, Record], tmp_path: Path) -> None:
    store, record = trained
    config = {**record.planned.config, "model": {"arch": "linknet", "encoder": "gone", "encoder_weights": None}}
    unknown = replace(record, planned=replace(record.planned, config=config))
    with closing(ModelWriter()) as writer:
        with pytest.raises(NoModelError, match="gone") as caught:
            writer.read(Wanted(store.storage, store.study, unknown, str(tmp_path)))
        assert "\n" not in str(caught.value)
        process = writer._process
        assert writer.read(Wanted(store.storage, store.study, record, str(tmp_path)))
        assert writer._process is process, "it goes on"
    assert process is not None
    assert process.poll() is not None


def test_what_writes_it_ends_with_a_killed_driver() -> None:
    code = """
import time
from orchestrator.tracking.model_writer import ModelWriter
writer = ModelWriter()
writer.start()
print(writer._process.pid, flush=True)
time.sleep(300)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        writer = psutil.Process(int(driver.stdout.readline()))
        driver.kill()
        psutil.wait_procs([writer], timeout=60)
        assert not writer.is_running()
