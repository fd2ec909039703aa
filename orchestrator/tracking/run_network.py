"""The network of an MLflow run, from what the run keeps: its configuration and its weights. Imports mlflow late."""

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from orchestrator.errors import InputError
from orchestrator.store.trained import TrainedNetwork
from orchestrator.tracking.run_files import download
from trainable.config import TrialConfig, read_trial
from trainable.configfile.mistakes import ConfigError
from trainable.configfile.trees import read_tree
from trainable.model.run_reference import NETWORK, RunReference

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, IOUS = "config.yaml", "class_iou.csv"
"""Files of a run, as ``trial_files`` writes them."""


def network_of_run(run: str, uri: str | None) -> tuple[TrainedNetwork, tuple[str, ...] | None]:
    """The folded network of a trial's run, and the names of its classes where the run has them.

    Args:
        run: Id of the run.
        uri: Where MLflow's runs are; None: MLFLOW_TRACKING_URI, else MLflow's own default.

    Raises:
        InputError: MLflow does not answer, there is no such run, or it keeps no network.
        ModelError: The network can no longer be built.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        content = download(RunReference(run), uri)
        weights = load(content)
        config = _config(download(RunReference(run, CONFIG), uri), run)
    except SafetensorError as error:
        raise InputError(f"runs:/{run}/{NETWORK}: damaged, or no file of safetensors") from error
    except ValueError as error:
        raise InputError(str(error)) from error
    try:
        names = _names(download(RunReference(run, IOUS), uri))
    except ValueError:  # a run of an early version
        names = None
    return replace(_built(config, weights), epoch=config.train.epochs), names


def _config(content: bytes, run: str) -> TrialConfig:
    try:
        return read_trial(read_tree(content.decode()))
    except (ConfigError, ValidationError) as error:
        masked = "its settings are not all known here (those of environment variables are kept by name alone)"
        raise InputError(f"runs:/{run}/{CONFIG}: {masked}; name the study instead of the run") from error


def _names(content: bytes) -> tuple[str, ...]:
    return tuple(row["class"] for row in csv.DictReader(io.StringIO(content.decode())))


def _built(config: TrialConfig, weights: Mapping[str, "Tensor"]) -> TrainedNetwork:
    """A network of the form that an export has, with the weights of the run."""
    from torch import random

    from trainable.model.build import build_model  # late: smp takes seconds to import
    from trainable.model.export import folded

    section = config.model.model_copy(update={"encoder_weights": None, "weights": None})
    heads = sorted(key for key, value in weights.items() if key.startswith("segmentation_head") and value.ndim == 4)
    classes = len(weights[heads[-1]])  # the classifier comes last
    with random.fork_rng(devices=[]):
        network = folded(build_model(section, classes, config.suppression), section)
    network.load_state_dict(dict(weights))
    return TrainedNetwork(network, config, config.train.epochs, classes)
