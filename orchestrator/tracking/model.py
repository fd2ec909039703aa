"""The best trial's network as a model in MLflow, with its signature, and in the registry where asked.

The model is ``trainable.model.export.folded``: a plain segmentation-models-pytorch network in evaluation mode.
``mlflow.pytorch.load_model`` brings it back wherever the packages of its ``requirements.txt`` are installed; this
project is not among them. Where a network needs a class of this project (``Then``: stages of efficientnet-b* that are
suppressed), the source of ``trainable`` travels with the model.

It is pickled: an exported graph (MLflow's default, pt2) would fix the device, and for many architectures the size of
the images.

Works on a client alone and changes no tracking URI, active run or other state of the process: it runs in a thread.
"""

import json
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow.pytorch
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS
from torch import nn

import trainable
from orchestrator.store.artifacts import read_confusion
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record
from trainable.config import read_trial
from trainable.model.build import build_model
from trainable.model.export import Then, folded, save_weights
from trainable.model.input_statistics import input_statistics
from trainable.model.own_network import Exported
from trainable.model.run_reference import NETWORK
from trainable.parts.section import OwnPart
from trainable.parts.source import code_of
from trainable.train.checkpoint import from_bytes

NAME = "model"
"""Name of the logged model: ``runs:/<run>/model`` finds it."""
PACKAGES = ("mlflow", "torch", "torchvision", "segmentation-models-pytorch", "timm", "numpy")
"""What loading and running a model needs."""
PACKAGES_OF_TRAINABLE = ("pydantic",)
"""What the source of ``trainable`` needs besides."""
LARGEST_EXAMPLE = 128
"""Side of the input example in pixels: it is kept as text."""


@dataclass(frozen=True)
class Trained:
    """A trained network as ``folded`` makes it."""

    network: nn.Module
    classes: int


def log_best_model(
    client: MlflowClient, run_id: str, store: Store, record: Record, *, register: str | None
) -> str | None:
    """Log the network of a complete trial as a model of its run, once, and register it under a name, once.

    Its weights alone are a file of the run too: ``runs:/<run>`` in a study file.

    Returns:
        The model's address, ``models:/<id>``; None where no good checkpoint of the last epoch is kept.

    Raises:
        MlflowException: MLflow cannot be reached or refuses.
        OSError: the storage cannot be used.
        ModelError: the network can no longer be built.
    """
    logged, has_weights = _logged(client, run_id), _has_weights(client, run_id)
    trained = None if logged and has_weights else _network(store, record)
    if trained is not None and not has_weights:
        _log_weights(client, run_id, trained)
    if trained is not None and logged is None:
        logged = _log(client, run_id, store, record, trained)
    if logged is None:
        return None
    if register is not None:
        _register(client, register, logged, run_id)
    return f"models:/{logged.model_id}"


def _logged(client: MlflowClient, run_id: str) -> LoggedModel | None:
    """The model of an earlier launch, if it was written to its end."""
    outputs = client.get_run(run_id).outputs
    models = (client.get_logged_model(output.model_id) for output in (outputs.model_outputs if outputs else ()))
    return next((m for m in models if m.name == NAME and m.status == LoggedModelStatus.READY), None)


def _has_weights(client: MlflowClient, run_id: str) -> bool:
    """Models of earlier versions have none."""
    return any(file.path == NETWORK for file in client.list_artifacts(run_id))


def _log_weights(client: MlflowClient, run_id: str, trained: Trained) -> None:
    """Keep the weights alone with the run: a pickled model is not read where a study starts from them."""
    with TemporaryDirectory() as folder:
        save_weights(trained.network, Path(folder) / NETWORK)
        client.log_artifact(run_id, f"{folder}/{NETWORK}")


def _network(store: Store, record: Record) -> Trained | None:
    for name in store.checkpoints(record.key):
        checkpoint = store.read_checkpoint(record.key, name)
        if checkpoint is not None and len(checkpoint.epochs) == len(record.epochs):
            config = read_trial(record.planned.config)
            weights = from_bytes(checkpoint.state)["model"]
            section = config.model.model_copy(update={"encoder_weights": None, "weights": None})  # nothing to fetch
            classes = len(weights["classifier.weight"])
            segmenter = build_model(section, classes, config.suppression)
            segmenter.load_state_dict(weights)
            return Trained(folded(segmenter, section), classes)
    return None


def _log(client: MlflowClient, run_id: str, store: Store, record: Record, trained: Trained) -> LoggedModel:
    run = client.get_run(run_id)
    logged = client.create_logged_model(
        run.info.experiment_id, NAME, run_id, tags={"trial": record.key}, params=run.data.params
    )
    try:
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=len(record.epochs))])
        with TemporaryDirectory() as folder:
            described = Model(artifact_path=logged.artifact_location, run_id=run_id, model_id=logged.model_id)
            _save(trained, Path(folder) / NAME, store, record, described)
            client.log_model_artifacts(logged.model_id, f"{folder}/{NAME}")
        client.log_batch(run_id, metrics=_scores(client, run_id, logged.model_id, record))
    except BaseException:
        client.finalize_logged_model(logged.model_id, LoggedModelStatus.FAILED)
        raise
    return client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)


def _scores(client: MlflowClient, run_id: str, model_id: str, record: Record) -> list[Metric]:
    """The run's evaluation of the last epoch, as the model's too: the same points, or the run would have them twice."""
    last = len(record.epochs)
    names = [name for name in record.epochs[-1] if name.startswith("val/")]
    points = (point for name in names for point in client.get_metric_history(run_id, name) if point.step == last)
    return [Metric(p.key, p.value, p.timestamp, p.step, model_id=model_id, run_id=run_id) for p in points]


def _save(trained: Trained, path: Path, store: Store, record: Record, described: Model) -> None:
    """Write an MLflow model into a new folder; ``described``, which knows its place in MLflow, takes what it is."""
    carried = any(isinstance(module, Then | Exported) for module in trained.network.modules())
    folders = [str(Path(trainable.__file__).parent), *_own_code(record)] if carried else None
    mlflow.pytorch.save_model(
        trained.network,
        str(path),
        mlflow_model=described,
        code_paths=folders,
        pip_requirements=_requirements(PACKAGES + (PACKAGES_OF_TRAINABLE if carried else ())),
        signature=ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 3, -1, -1))]),
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, trained.classes, -1, -1))]),
        ),
        input_example=_example(record),
        metadata=_metadata(store, record),
        serialization_format="pickle",
    )


def _own_code(record: Record) -> list[str]:
    """Where the code of a network of one's own lies."""
    arch = read_trial(record.planned.config).model.arch
    return [str(code_of(arch.name).path)] if isinstance(arch, OwnPart) else []


def _example(record: Record) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """One image [1,3,H,W] of the mean colour."""
    height, width = (min(side, LARGEST_EXAMPLE) for side in _size(record))
    return np.zeros((1, 3, height, width), np.float32)


def _size(record: Record) -> tuple[int, int]:
    """Height and width of the frames that the trial was trained on."""
    return read_trial(record.planned.config).data.size


def _metadata(store: Store, record: Record) -> dict[str, object]:
    """What a user of the model has to know; classes by name where the trial left its confusion matrix."""
    confusion = read_confusion(store.objects, record.key)
    normalization = input_statistics(read_trial(record.planned.config).model)
    return {
        "study": store.study,
        "trial": record.key,
        "input": "RGB in [0, 1], normalised with mean and std; sides are multiples of 32",
        "mean": list(normalization.mean),
        "std": list(normalization.std),
        "output": "logits of each class at the size of the image",
        "trained_at": list(_size(record)),
        "classes": list(confusion.classes) if confusion else None,
    }


def _requirements(packages: tuple[str, ...]) -> list[str]:
    """Pinned as they are here; without the local part of a version (2.11.0+cu128), which no index has."""
    return [f"{name}=={re.sub(r'[+].*', '', metadata.version(name))}" for name in packages]


def _register(client: MlflowClient, name: str, logged: LoggedModel, run_id: str) -> None:
    """Make the model a version of a registered model, unless it is one."""
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    versions = client.search_model_versions(f"name = '{name}'")
    if not any(version.source == logged.artifact_location for version in versions):
        # Its place and not models:/<id>, which a database would look up at the process's tracking URI.
        made = client.create_model_version(
            name, logged.artifact_location, run_id, model_id=logged.model_id, await_creation_for=0
        )
        link = json.dumps([{"name": name, "version": made.version}])
        client.set_logged_model_tags(logged.model_id, {MLFLOW_MODEL_VERSIONS: link})  # the model's page shows it
