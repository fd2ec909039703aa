"""What is checked before the first trial and needs more than the study file: models, weights, storage."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import get_args

from orchestrator.errors import InputError
from orchestrator.plan.ablation import expected
from orchestrator.store.open_study import storage_errors
from orchestrator.store.records import Store
from orchestrator.studyfile import SearchSpace, Study
from orchestrator.studyfile.space.domain import Choice, Tree
from trainable.model.config import ModelConfig
from trainable.model.encoders import ENCODERS
from trainable.suppression.config import Layer


def check_models(study: Study) -> None:
    """Refuse encoders and weights that smp does not know, encoders that the architecture does not take, absent layers.

    Raises:
        InputError: Models that cannot be built.
    """
    layers = _encoder_stages(study)
    unsure = [model for model in _models(study) if not _surely_fine(model, layers)]
    if unsure:
        from trainable.model.build import ModelError, check_model  # late: smp takes 6 s to import

        _collect(unsure, lambda model: check_model(model, layers), ModelError, study)


def fetch_weights(study: Study) -> None:
    """Fetch pretrained weights once, before many trials would do so at the same time.

    Raises:
        InputError: They cannot be fetched here; the message names the way out.
    """
    pretrained = [model for model in _models(study) if model.encoder_weights is not None]
    if pretrained:
        from trainable.model.build import ModelError
        from trainable.model.weights import fetch_weights as fetch

        _collect(pretrained, fetch, ModelError, study)


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


def _surely_fine(model: ModelConfig, layers: Collection[Layer]) -> bool:
    """Every architecture takes a plain ResNet (a test trains each), so that the common case needs no import of smp.

    All but pspnet, which ends at stage 3, have its five stages.
    """
    resnet = model.encoder in ENCODERS and model.encoder.startswith("resnet") and model.encoder_weights is None
    return resnet and (model.arch != "pspnet" or not layers)


def _models(study: Study) -> list[ModelConfig]:
    """Every model that a trial may have; nothing in the section is continuous."""
    space = SearchSpace({"model": study.space.tree["model"]})
    trees = [space.resolve(lambda name, _, cell=cell: cell[name]) for cell in space.cells()]  # type: ignore[misc]
    found = [ModelConfig.model_validate_json(json.dumps(tree["model"])) for tree in trees]
    return list(dict.fromkeys([*found, *(trial.model for trial in expected(study))]))


def _encoder_stages(study: Study) -> tuple[Layer, ...]:
    """Every encoder stage that a trial may suppress."""
    of_arms = [layer for trial in expected(study) if trial.suppression for layer in trial.suppression.layers]
    found = {*_searched_stages(study), *of_arms} - {"decoder"}
    return tuple(layer for layer in get_args(Layer) if layer in found)


def _searched_stages(study: Study) -> tuple[Layer, ...]:
    if study.space.tree.get("preset") in ("none", "plain", "class_weighted", "official"):  # they name another layer
        return ()
    suppression = study.space.tree.get("suppression")
    written = [suppression] if isinstance(suppression, dict) else []
    if isinstance(suppression, Choice):
        written = [option for option in suppression.options if isinstance(option, dict)]
    found = [layer for section in written for layer in _layers_in(section.get("layer"))]
    return tuple(dict.fromkeys(layer for layer in get_args(Layer) if layer in found and layer != "decoder"))


def _layers_in(tree: Tree) -> Iterator[Tree]:
    match tree:
        case Choice():
            for option in tree.options:
                yield from _layers_in(option)
        case list():
            for item in tree:
                yield from _layers_in(item)
        case _:
            yield tree


def _collect(
    models: Iterable[ModelConfig], check: Callable[[ModelConfig], object], error: type[Exception], study: Study
) -> None:
    """Run ``check`` on every model and report all its refusals at once."""
    refusals = []
    for model in models:
        try:
            check(model)
        except error as refusal:
            refusals.append(f"{study.path}: {refusal}")
    if refusals:
        raise InputError("\n".join(dict.fromkeys(refusals)))
