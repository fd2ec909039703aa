"""The network of an MLflow run predicts what the study's trial does."""

from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

import orchestrator
from orchestrator.tracking.trial_files import write_trial_files
from tests.orchestrator.api.trained_studies import trained_study
from trainable.model.export import save_weights
from trainable.model.run_reference import NETWORK


@pytest.fixture
def logged(uri: str, tmp_path: Path) -> tuple[MlflowClient, str, orchestrator.Study]:
    """A run that holds what a best trial's run does, and its study."""
    study = orchestrator.load_study(trained_study(tmp_path, "evaluation.flip=true").address)
    assert study.best is not None
    client = MlflowClient(uri)
    run = client.create_run(client.create_experiment("e")).info.run_id
    files = tmp_path / "files"
    files.mkdir()
    write_trial_files(study.best._record, study._store, files, {})
    save_weights(orchestrator.load_model(study), files / NETWORK)
    for name in ("config.yaml", "class_iou.csv", NETWORK):
        client.log_artifact(run, str(files / name))
    return client, run, study


def test_a_run_predicts_as_its_trial(
    logged: tuple[MlflowClient, str, orchestrator.Study], uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run, study = logged
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    expected = orchestrator.predict(study, image, device="cpu")[0]
    for source in (f"runs:/{run}", run):
        mask = orchestrator.predict(source, image, tracking_uri=uri, device="cpu")[0]
        assert (mask == expected).mean() > 0.999, "logits of folded weights are equal but for rounding"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    predictor = orchestrator.load_predictor(f"runs:/{run}")
    assert predictor.classes.names[0] == "meadow"
    assert predictor.config.evaluation.flip
    assert type(orchestrator.load_model(run)).__module__.startswith("segmentation_models_pytorch")


def test_runs_without_a_network_are_told(logged: tuple[MlflowClient, str, orchestrator.Study], uri: str) -> None:
    client, run, _ = logged
    bare = client.create_run("0").info.run_id
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    for source, options, said in (
        (f"runs:/{bare}", {}, f"has no {NETWORK}; it has no files"),
        ("runs:/nothing", {}, "has no run nothing"),
        (f"runs:/{run}", {"trial": "search-0000"}, "a run of MLflow is one trial"),
    ):
        with pytest.raises(orchestrator.InputError, match=said):
            orchestrator.predict(source, image, tracking_uri=uri, **options)  # type: ignore[call-overload]
