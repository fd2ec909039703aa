"""What is checked before the first trial and needs more than the study file: models, weights, storage."""

from collections.abc import Callable, Iterable

from orchestrator.errors import InputError
from orchestrator.launch.foreseen import foreseen
from orchestrator.store.addresses import storage_errors
from orchestrator.store.records import Store
from orchestrator.studyfile import Study
from trainable.model.config import ModelConfig, is_surely_buildable
from trainable.model.encoders import ModelError


def check_models(study: Study) -> None:
    """Refuse encoders and weights that smp does not know, encoders that the architecture does not take, absent layers.

    Raises:
        InputError: Models that cannot be built.
    """
    layers = foreseen(study).layers
    unsure = [model for model in foreseen(study).models if not is_surely_buildable(model, layers)]
    if unsure:
        from trainable.model.build import check_model  # late: smp takes 6 s to import

        # of an arm with another architecture, which has been refused where it does not have its own
        _collect(unsure, lambda model: check_model(model, [n for n in layers if n in model.inner_layers]), study)


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


def _collect(models: Iterable[ModelConfig], check: Callable[[ModelConfig], object], study: Study) -> None:
    """Run ``check`` on every model and report all its refusals at once."""
    refusals = []
    for model in models:
        try:
            check(model)
        except ModelError as refusal:
            refusals.append(f"{study.path}: {refusal}")
    if refusals:
        raise InputError("\n".join(dict.fromkeys(refusals)))
