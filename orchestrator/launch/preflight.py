"""What is checked before the first trial and needs more than the study file: models, weights, storage."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import TypeVar

from orchestrator.errors import InputError
from orchestrator.launch.foreseen import Images, foreseen
from orchestrator.store.addresses import storage_errors
from orchestrator.store.records import Store
from orchestrator.studyfile import Study
from orchestrator.terminal.console import open_console, say
from trainable.data.classes import class_names
from trainable.model.config import ModelConfig, is_plain_resnet, is_surely_buildable
from trainable.model.encoders import ModelError

T = TypeVar("T")

REHEARSED_S = 60.0
"""How long the images of a study may take to be tried on its models."""


@dataclass(frozen=True)
class Rehearsed:
    """What models said to the images that a study has for them."""

    operations: Mapping[Images, float]
    """Of a pass; 0 where that is not known."""
    untried: int
    """Passes for which there was no time."""

    @property
    def line(self) -> str:
        """How many were tried."""
        tried = len(self.operations)
        untried = f"; {self.untried} were not tried for want of time: their trials tell" if self.untried else ""
        return f"{tried} sizes of images and batches were tried on their models, in shapes alone{untried}"


def needs_torch(study: Study) -> bool:
    """Whether `check_models` or `fetch_weights` have something to do that takes torch."""
    known = foreseen(study)
    built = all(is_surely_buildable(model, known.layers) for model in known.models)
    pretrained = any(model.encoder_weights is not None for model in known.models)
    return not built or pretrained or not all(map(_surely_taken, known.images))


def check_models(study: Study) -> None:
    """Refuse encoders and weights that smp does not know, encoders that the architecture does not take, absent layers.

    And images that a model does not take; those of plain ResNets are surely taken.

    Raises:
        InputError: Models that cannot be built or run.
    """
    layers = foreseen(study).layers
    unsure = [model for model in foreseen(study).models if not is_surely_buildable(model, layers)]
    if unsure:
        _collect(unsure, lambda model: _check_model(model, study), study)

    rehearsed = rehearse([each for each in foreseen(study).images if not _surely_taken(each)], study)
    if rehearsed.untried:
        say(open_console(), f"note: {rehearsed.line}")


def rehearse(images: Sequence[Images], study: Study) -> Rehearsed:
    """Try images on models without numbers, each model first on its first ones.

    Raises:
        InputError: A model does not take them.
    """
    operations: dict[Images, float] = {}
    if not images:
        return Rehearsed(operations, 0)
    from trainable.model.rehearsal import Rehearsal  # late: smp takes 6 s to import

    network, end = cache(Rehearsal), time.monotonic() + REHEARSED_S

    def attempt(each: Images) -> None:
        operations[each] = network(each.model).operations(each.batch, *each.size, training=each.training)

    _collect(takewhile(lambda _: time.monotonic() < end, _models_first(images)), attempt, study)
    return Rehearsed(operations, len(images) - len(operations))


def _models_first(images: Sequence[Images]) -> list[Images]:
    """The first images of each model, then the second ones, and so on."""
    met: Counter[ModelConfig] = Counter()
    ranks = {}
    for each in images:
        met[each.model] += 1
        ranks[each] = met[each.model]
    return sorted(images, key=ranks.__getitem__)


def _surely_taken(images: Images) -> bool:
    """A test trains every architecture on a plain ResNet; batch norm over one pixel is what cannot be trained."""
    resnet = is_plain_resnet(images.model.encoder) and images.model.arch != "pan"
    return resnet and (images.batch > 1 or not images.training)


def _check_model(model: ModelConfig, study: Study) -> None:
    from trainable.model.build import check_model  # late: smp takes 6 s to import

    # the others are of an arm with another architecture: where a trial has them they were refused
    layers = [layer for layer in foreseen(study).layers if layer in model.inner_layers]
    counts = {len(class_names(data)) for data in foreseen(study).data} if model.weights else {2}
    for classes in sorted(counts):
        check_model(model, layers, classes)


def fetch_weights(study: Study) -> None:
    """Fetch pretrained weights once, before many trials would do so at the same time.

    Raises:
        InputError: They cannot be fetched here; the message names the way out.
    """
    pretrained = [model for model in foreseen(study).models if model.encoder_weights is not None]
    if pretrained:
        from trainable.model.weights import fetch_weights as fetch

        _collect(pretrained, fetch, study)


def open_store(study: Study, storage: str) -> Store:
    """The study's directory, found fit to be written; nothing is created yet.

    Raises:
        InputError: The storage cannot be used, or holds a study of a newer version.
    """
    with storage_errors(f"--storage {storage}: cannot be used"):
        store = Store(storage, study.spec.study)
        obstacle = store.obstacle()
        if obstacle:
            raise InputError(f"--storage {storage}: {obstacle}")
        store.read_study()  # what a newer version wrote is refused here
    return store


def _collect(models: Iterable[T], check: Callable[[T], object], study: Study) -> None:
    """Run ``check`` on everything and report all its refusals at once."""
    refusals = []
    for model in models:
        try:
            check(model)
        except ModelError as refusal:
            refusals.append(study.places.of_trial(str(refusal)))
    if refusals:
        raise InputError("\n".join(dict.fromkeys(refusals)))
