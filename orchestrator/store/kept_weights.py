"""Weights of MLflow runs in the study's directory: every node brings them from there, also when the run is gone."""

from collections.abc import Iterable
from pathlib import Path

from orchestrator.store import layout
from orchestrator.store.records import Store
from trainable.configfile.node import JsonObject
from trainable.model.config import ModelConfig, WeightsFile
from trainable.model.fetched import is_here, place_of, put_in_cache
from trainable.model.run_reference import RUNS, read_reference

SETTINGS = ("encoder_weights", "weights")
"""Of a model: what may be such a file."""


def keep_weights(store: Store, models: Iterable[ModelConfig]) -> None:
    """Keep the files that the models start from; they lie in this machine's cache."""
    for file in dict.fromkeys(file for model in models for file in _run_files(model)):
        name = _name(file)
        if not store.objects.is_file(name):
            store.objects.write(name, place_of(file).read_bytes())


def bring_weights(store: Store, model: ModelConfig) -> None:
    """Bring the files that a model starts from into this machine's cache; what is missing its building tells.

    Raises:
        OSError: the storage or the cache cannot be used.
    """
    for file in _run_files(model):
        if not is_here(file) and (content := store.objects.read(_name(file))) is not None:
            put_in_cache(file.path, content)


def with_kept_weights(store: Store, config: JsonObject) -> JsonObject:
    """A trial's configuration that names the kept files in place of the runs, to be run without MLflow.

    Only where the storage is a folder: what an address names no trial reads.
    """
    model = config["model"]
    assert isinstance(model, dict)
    files = {name: WeightsFile.model_validate(model[name]) for name in SETTINGS if _is_of_a_run(model.get(name))}
    places = {name: Path(store.path(_name(file))) for name, file in files.items()}
    kept: JsonObject = {
        name: {"path": str(place), "sha256": files[name].sha256} for name, place in places.items() if place.is_file()
    }
    return config | {"model": model | kept} if kept else config


def _run_files(model: ModelConfig) -> list[WeightsFile]:
    files = (model.encoder_weights, model.weights)
    return [file for file in files if isinstance(file, WeightsFile) and file.path.startswith(RUNS)]


def _is_of_a_run(file: object) -> bool:
    return isinstance(file, dict) and str(file.get("path")).startswith(RUNS)


def _name(file: WeightsFile) -> str:
    reference = read_reference(file.path)
    return layout.weights(reference.run, reference.file)
