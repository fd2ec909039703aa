"""Class masks of images by a trial's network, and the network itself: from a study, a trial or a run of MLflow."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, overload

from orchestrator.api.loading import load_study
from orchestrator.api.reading import usable
from orchestrator.api.study import Study
from orchestrator.api.trial import Trial
from orchestrator.errors import InputError
from orchestrator.store.artifacts import read_confusion
from orchestrator.store.commands import PYTHON, module
from orchestrator.store.trial_record import State
from trainable.data.classes import ClassMap, class_map
from trainable.data.config import DataConfig
from trainable.data.errors import DataError
from trainable.data.folder_classes import voc_colour
from trainable.model.encoders import ModelError
from trainable.model.run_reference import RUNS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn

    from orchestrator.store.trained import TrainedNetwork
    from trainable.data.loose_images import LooseImage
    from trainable.evaluate.predictor import Predictor

    Mask: TypeAlias = npt.NDArray[np.uint8]
    Probabilities: TypeAlias = npt.NDArray[np.float32]

Source: TypeAlias = Study | Trial | str | Path
"""A study (its best trial counts), a trial, a study's name or directory, or ``runs:/RUN_ID`` of MLflow."""
_RUN_ID = re.compile(r"[0-9a-f]{32}")


@overload
def predict(
    source: Source,
    images: "Iterable[LooseImage] | LooseImage",
    *,
    trial: str | None = None,
    storage: str | Path | None = None,
    tracking_uri: str | None = None,
    probabilities: Literal[False] = False,
    resize: bool = True,
    batch_size: int | None = None,
    device: str | None = None,
) -> "list[Mask]": ...


@overload
def predict(
    source: Source,
    images: "Iterable[LooseImage] | LooseImage",
    *,
    trial: str | None = None,
    storage: str | Path | None = None,
    tracking_uri: str | None = None,
    probabilities: Literal[True],
    resize: bool = True,
    batch_size: int | None = None,
    device: str | None = None,
) -> "list[tuple[Mask, Probabilities]]": ...


def predict(
    source: Source,
    images: "Iterable[LooseImage] | LooseImage",
    *,
    trial: str | None = None,
    storage: str | Path | None = None,
    tracking_uri: str | None = None,
    probabilities: bool = False,
    resize: bool = True,
    batch_size: int | None = None,
    device: str | None = None,
) -> "list[Mask] | list[tuple[Mask, Probabilities]]":
    """Class masks of images, one for each, by a trial's network.

    Images are prepared exactly as in training (size, padding, normalisation of the encoder, 16 bits, EXIF) and
    predicted as the trial's evaluation predicts (window, scales, mirroring). For more images than fit into memory take
    `load_predictor`, whose ``predictions`` come one by one.

    Args:
        source: What predicts: a study, then its best trial; a trial; the name or directory of a study; a run of MLflow
            as ``runs:/RUN_ID`` or by its id.
        images: Files, folders (every image below, sorted), pictures of Pillow's, or arrays: uint8 [height, width, 3] in
            RGB, or gray [height, width], or uint16. One, or several.
        trial: Key of another trial of the study than its best, such as ``search-0003``.
        storage: Folder or address of the studies, where ``source`` is a name.
        tracking_uri: Where MLflow's runs are; by default MLFLOW_TRACKING_URI or ``sqlite:///mlflow.db``.
        probabilities: Whether the probabilities of all classes are wanted too.
        resize: Whether masks have the size of their image (an upright one, where EXIF turns it); False gives them at
            the size that the network saw, on which the trial's scores are computed.
        batch_size: Images at a time; None takes as many as the trial's evaluation.
        device: ``cpu`` or ``cuda``; None takes a GPU if there is one.

    Returns:
        A mask uint8 [height, width] for each image, its values positions in the trial's classes (`load_predictor` has
        their names and colours); with ``probabilities`` pairs of it and float32 [classes, height, width].

    Raises:
        InputError: No such study, trial or run, no weights of it, or an image that cannot be read, by its name.
    """
    from trainable.data.loose_images import fitted, listed

    try:
        several = listed(images)
        predictor = load_predictor(source, trial=trial, storage=storage, tracking_uri=tracking_uri, device=device)
        made = predictor.predictions(
            fitted(several, predictor.config.data),
            probabilities=probabilities, resize=resize, batch_size=batch_size,
        )  # fmt: skip
        if not probabilities:
            return [one.mask for one in made]
        return [(one.mask, one.probabilities) for one in made if one.probabilities is not None]
    except DataError as error:
        raise InputError(str(error)) from error


def load_predictor(
    source: Source,
    *,
    trial: str | None = None,
    storage: str | Path | None = None,
    tracking_uri: str | None = None,
    device: str | None = None,
) -> "Predictor":
    """What predicts, with the names and colours of its classes; arguments and errors as `predict`."""
    trained, names = _trained(source, trial, storage, tracking_uri)
    import torch  # late: a mistake is told without its seconds

    from trainable.evaluate.predictor import Predictor
    from trainable.model.input_statistics import input_statistics
    from trainable.train.compute import choose_compute

    with _in_one_line():
        normalization = input_statistics(trained.config.model)
        try:
            compute = choose_compute(device, trained.config.train.precision)
        except RuntimeError as error:
            raise InputError(f"device '{device}': {str(error).splitlines()[0]}") from error
        network = trained.network.to(compute.device).to(memory_format=torch.channels_last).eval()  # as in training
    classes = _classes(trained.config.data, trained.classes, names)
    return Predictor(network, trained.config, replace(compute, normalization=normalization), classes)


def load_model(
    source: Source,
    *,
    trial: str | None = None,
    storage: str | Path | None = None,
    tracking_uri: str | None = None,
) -> "nn.Module":
    """The network as a plain segmentation-models-pytorch model on the CPU, in evaluation mode.

    It gives logits [B,C,H,W] of images [B,3,H,W] in RGB from 0 to 1, normalised by what the encoder wants
    (``load_predictor(source).compute.normalization``); sides are multiples of 32. Its suppression blocks are folded
    away; ``torch.save`` writes it. Arguments and errors as `predict`.
    """
    trained, _ = _trained(source, trial, storage, tracking_uri)
    import torch

    from trainable.model.export import folded
    from trainable.model.segmenter import Segmenter

    if not isinstance(trained.network, Segmenter):
        return trained.network
    section = trained.config.model.model_copy(update={"encoder_weights": None, "weights": None})
    with _in_one_line(), torch.random.fork_rng(devices=[]):
        return folded(trained.network, section)


def _trained(
    source: Source, trial: str | None, storage: str | Path | None, tracking_uri: str | None
) -> "tuple[TrainedNetwork, tuple[str, ...] | None]":
    """The network, and the names of its classes where they are known without the data."""
    run = _run_of(source)
    if run is not None:
        if trial is not None:
            raise InputError(f"trial '{trial}': a run of MLflow is one trial; name a study, or leave the trial out")
        from orchestrator.tracking.run_network import network_of_run

        with _in_one_line():
            return network_of_run(run, tracking_uri)
    return _of_trial(_chosen(source, trial, storage))


def _run_of(source: Source) -> str | None:
    """The id of the run of MLflow that is meant; None where it is none."""
    if not isinstance(source, str):
        return None
    if source.startswith(RUNS):
        return source.removeprefix(RUNS).partition("/")[0]
    return source if _RUN_ID.fullmatch(source) and not Path(source).exists() else None


def _chosen(source: Source, trial: str | None, storage: str | Path | None) -> Trial:
    if isinstance(source, Trial):
        if trial not in (None, source.key):
            raise InputError(f"trial '{trial}': {source.key} is given already")
        return source
    study = source if isinstance(source, Study) else load_study(source, storage)
    if trial is not None:
        return study.trial(trial)
    if study.best is not None:
        return study.best
    complete = next((one for one in study.records if one.complete), None)
    if complete is None:
        raise InputError(f"{study.address}: no trial is complete yet")
    raise InputError(f"{study.address}: no complete trial of a search; {_kept_nowhere(complete)}")


def _of_trial(trial: Trial) -> "tuple[TrainedNetwork, tuple[str, ...] | None]":
    from orchestrator.store.trained import trained_network

    with usable(trial._store.address), _in_one_line():
        trained = trained_network(trial._store, trial._record)
        confusion = read_confusion(trial._store.objects, trial.key)
    if trained is None:
        raise InputError(f"{trial._store.address}: no weights of {trial.key} are kept; {_kept_nowhere(trial)}")
    return trained, confusion.classes if confusion else None


def _kept_nowhere(trial: Trial) -> str:
    """Why a trial has no weights, and how to get them."""
    if trial.state is not State.COMPLETE:
        return f"it is {trial.state}"
    again = module("trainable", "config.yaml", options={"--export": "model.pt"}, python=PYTHON)
    return (
        "a search keeps those of its best trial, a comparison keeps none. To have them, train it again from its "
        f"configuration (Trial.yaml, or config.yaml of its run in MLflow):  {again}"
    )


def _classes(data: DataConfig, count: int, names: tuple[str, ...] | None) -> ClassMap:
    """The classes of the data set; where its files are not here, by what the trial has left."""
    try:
        classes = class_map(data)
        if len(classes.names) == count:
            return classes
    except DataError:
        pass
    names = names if names is not None and len(names) == count else tuple(f"class {c}" for c in range(count))
    return ClassMap(names, tuple(range(count)), frozenset(), tuple(voc_colour(c + 1) for c in range(count)))


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Raise InputError in place of what a network that cannot be built raises."""
    try:
        yield
    except (ModelError, DataError) as error:
        raise InputError(str(error)) from error
