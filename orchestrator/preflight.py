"""What is checked before the first trial and needs more than the study file: models, weights, an earlier study."""

import json
from collections.abc import Callable, Iterable

from orchestrator.errors import InputError
from orchestrator.flat import flatten
from orchestrator.records import Store
from orchestrator.spec import SearchSpace, Study
from trainable.model.config import ModelConfig
from trainable.model.encoders import ENCODERS

MAY_CHANGE = ("search.trials", "search.references", "resources.", "tracking.")
"""Settings that decide how much is run and where, but not what a trial is."""


def check_models(study: Study) -> None:
    """Refuse encoders and weights that smp does not know.

    Raises:
        InputError: Names of encoders or weights that do not exist.
    """
    unsure = [model for model in _models(study) if model.encoder not in ENCODERS or model.encoder_weights is not None]
    if unsure:
        from trainable.model.build import ModelError, check_model  # late: smp takes 6 s to import

        _collect(unsure, check_model, ModelError, study)


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


def check_same_study(study: Study, store: Store) -> None:
    """Refuse to mix trials of two different studies under one name.

    Raises:
        InputError: The stored study differs in settings that decide what a trial is.
    """
    kept = store.read_study()
    if kept is None:
        return
    before, now = flatten(kept), flatten(study.resolved())
    changed = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    changed = [name for name in changed if not name.startswith(MAY_CHANGE)]
    if changed:
        raise InputError(
            f"{study.path}: {store.uri} holds a study that differs in {', '.join(changed)}; "
            f"give this one another name (--set study=NAME) or another --storage"
        )


def _models(study: Study) -> list[ModelConfig]:
    """Every model that a trial may have; nothing in the section is continuous."""
    space = SearchSpace({"model": study.space.tree["model"]})
    trees = [space.resolve(lambda name, _, cell=cell: cell[name]) for cell in space.cells()]  # type: ignore[misc]
    return [ModelConfig.model_validate_json(json.dumps(tree["model"])) for tree in trees]


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
