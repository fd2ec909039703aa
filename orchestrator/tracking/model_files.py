"""A trained network as the files of an MLflow model, with its signature and what it needs. Imports torch and smp.

It is pickled: an exported graph (MLflow's default, pt2) would fix the device, and for many architectures the size of
the images. Where a network needs a class of this project (``Then``: stages of efficientnet-b* that are suppressed),
the source of ``trainable`` travels with the model.
"""

import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import mlflow.pytorch
import numpy as np
from mlflow.entities import LoggedModel
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import nn

import trainable
from orchestrator.store.artifacts import read_confusion
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record
from trainable.config import read_trial
from trainable.model.build import build_model
from trainable.model.export import Then, folded
from trainable.model.input_statistics import input_statistics
from trainable.model.own_network import Exported
from trainable.parts.section import OwnPart
from trainable.parts.source import code_of
from trainable.train.checkpoint import from_bytes

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


def trained_network(store: Store, record: Record) -> Trained | None:
    """The network of a trial; None where no good checkpoint of its last epoch is kept.

    Raises:
        ModelError: it can no longer be built.
    """
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


def save_model(trained: Trained, path: Path, store: Store, record: Record, logged: LoggedModel) -> None:
    """Write the files of a model that MLflow knows of into a new folder."""
    carried = any(isinstance(module, Then | Exported) for module in trained.network.modules())
    folders = [str(Path(trainable.__file__).parent), *_own_code(record)] if carried else None
    described = Model(artifact_path=logged.artifact_location, run_id=logged.source_run_id, model_id=logged.model_id)
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
