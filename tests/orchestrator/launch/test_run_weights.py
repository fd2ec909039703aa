"""``model.weights: runs:/RUN_ID``: fetched before the study is checked, kept in its directory, known by its content."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from mlflow import MlflowClient
from safetensors.numpy import save

from orchestrator.launch.foreseen import foreseen
from orchestrator.launch.history import read_history
from orchestrator.launch.run_weights import content_of
from orchestrator.plan.planner import Planner
from orchestrator.store.kept_weights import bring_weights, keep_weights, with_kept_weights
from orchestrator.store.records import Store
from orchestrator.studyfile import ConfigError, Study, load
from orchestrator.studyfile.space.trees import content
from trainable.__main__ import load_config
from trainable.config import TrialConfig, read_trial
from trainable.configfile.trees import write_yaml
from trainable.data.cache import cache_folder
from trainable.model.fetched import is_here

CONTENT = save({})


@pytest.fixture
def run(uri: str, tmp_path: Path) -> str:
    """A run with weights among its files, of a database that MLFLOW_TRACKING_URI names not."""
    client = MlflowClient(uri)
    experiment = client.create_experiment("e", artifact_location=(tmp_path / "artifacts").as_uri())
    run_id = str(client.create_run(experiment, tags={"trial": "search-0001"}).info.run_id)
    for name, held in (("model.safetensors", CONTENT), ("other.pt", b"other"), ("broken.safetensors", b"x" * 99)):
        (tmp_path / name).write_bytes(held)
        client.log_artifact(run_id, str(tmp_path / name))
    return run_id


Load = Callable[..., Study]


@pytest.fixture
def loaded(study: Load, uri: str, tmp_path: Path) -> Load:
    """Loads the small study with weights of MLflow, as the command does."""
    study()  # writes its file
    fetch = partial(content_of, str(tmp_path / "out"))
    return lambda *overrides: load(tmp_path / "s.yaml", [f"tracking.uri={uri}", *overrides], {}, fetch)


def trial(study: Study) -> TrialConfig:
    return study.space.trial(study.space.center(), 0)


def test_it_is_known_by_its_content_wherever_a_study_names_it(loaded: Load, run: str, tmp_path: Path) -> None:
    study = loaded(f"model.weights=runs:/{run}", f"model.encoder_weights={{choice: [null, runs:/{run}/other.pt]}}")
    network, encoder = foreseen(study).models[1].weights, foreseen(study).models[1].encoder_weights
    assert str(getattr(network, "path", None)) == f"runs:/{run}/model.safetensors"
    assert str(getattr(encoder, "path", None)) == f"runs:/{run}/other.pt"
    file = loaded(f"model.weights={tmp_path / 'model.safetensors'}")
    assert content(trial(file)) == content(trial(loaded(f"model.weights=runs:/{run}")))
    factors = loaded(f"ablation={{design: one_at_a_time, seeds: 2, factors: {{model.weights: [null, runs:/{run}]}}}}")
    assert any(model.weights == network for model in foreseen(factors).models)


def test_a_study_goes_on_when_the_run_is_gone(loaded: Load, run: str, tmp_path: Path) -> None:
    """On another machine too, and where the file is named instead."""
    override, store = f"model.weights=runs:/{run}", Store(str(tmp_path / "out"), "s")
    before = loaded(override)
    assert not (tmp_path / "out").exists(), "reading a study writes nothing to its directory"
    keep_weights(store, foreseen(before).models)
    store.write_study(before.resolved())
    planned = Planner(before).next()
    assert planned is not None
    store.plan(planned)
    shutil.rmtree(tmp_path / "artifacts")
    MlflowClient(before.spec.tracking.uri).delete_run(run)
    shutil.rmtree(cache_folder() / "weights")
    model = read_trial(planned.config).model
    assert model.weights is not None
    assert not is_here(model.weights)
    bring_weights(store, model)
    assert is_here(model.weights)
    for after in (loaded(override), loaded(f"model.weights={tmp_path / 'model.safetensors'}")):
        history = read_history(after, store)
        assert [record.key for record in history.records] == [planned.key]
        assert history.notes == ()


def test_its_trials_run_alone_from_the_kept_file(loaded: Load, run: str, tmp_path: Path) -> None:
    study, store = loaded(f"model.weights=runs:/{run}"), Store(str(tmp_path / "out"), "s")
    keep_weights(store, foreseen(study).models)
    config = trial(study).model_dump(mode="json")
    (tmp_path / "best.yaml").write_text(write_yaml(with_kept_weights(store, config)))
    alone = load_config(tmp_path / "best.yaml").model.weights
    assert alone == trial(study).model.weights
    assert alone is not None
    assert Path(alone.path) == tmp_path / f"out/s/weights/{run}/model.safetensors"
    assert Path(alone.path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("file", "overrides", "said"),
    [
        (
            "none.pt",
            (),
            "run RUN (search-0001) has no none.pt; it has broken.safetensors, model.safetensors, other.pt; ",
        ),
        ("broken.safetensors", (), "runs:/RUN/broken.safetensors: damaged"),
        (f"model.safetensors@{'a' * 64}", (), "runs:/RUN/model.safetensors has the hash "),
        ("", ("model.weights=runs:/0123",), "has no run 0123"),
        ("", ("tracking.uri=http://127.0.0.1:9",), "tracking.uri http://127.0.0.1:9 does not answer: "),
        ("", ("tracking.uri=sqlite:///nowhere.db",), "tracking.uri sqlite:///nowhere.db: there is no such database"),
        ("", ("tracking.uri=ftp://h",), "tracking.uri: ftp://h: unknown scheme"),
        ("", ("study=../s",), "study: "),
    ],
)
def test_what_cannot_be_had_is_one_line_at_its_place(
    loaded: Load, run: str, file: str, overrides: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(f"model.weights=runs:/{run}/{file}".rstrip("/"), *overrides)
    (line,) = str(caught.value).splitlines()
    assert said.replace("RUN", run) in line
    assert line.startswith("--set study" if "study" in said else "--set model.weights")
    assert not Path("nowhere.db").exists()
