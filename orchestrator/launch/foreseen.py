"""What the trials of a study may be, as far as it is known before the first: their models, layers and data sets."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import get_args

from orchestrator.plan.ablation import expected
from orchestrator.plan.confirmation import usable_test_split
from orchestrator.store.data_fingerprints import frames_section
from orchestrator.studyfile import SearchSpace, Study
from orchestrator.studyfile.space.domain import Choice, Float, Tree
from trainable.config import TrialConfig
from trainable.data.config import Augment, DataConfig
from trainable.model.config import ModelConfig
from trainable.presets import REPLACE_SUPPRESSION
from trainable.suppression.config import Layer


@dataclass(frozen=True)
class Foreseen:
    """What trials may have. No two entries are equal."""

    models: tuple[ModelConfig, ...]
    layers: tuple[Layer, ...]
    """Encoder stages and branches that may be suppressed, the first stage first."""
    data: tuple[DataConfig, ...]
    """Without augmentation; of real domains only the middle; labelled test splits where some trial is scored on one."""


@lru_cache(maxsize=1)
def foreseen(study: Study) -> Foreseen:
    """What the trials of a study may have; worked out once for a study object."""
    arms = expected(study)
    return Foreseen(_models(study, arms), _layers(study, arms), _data(study, arms))


def _models(study: Study, arms: Sequence[TrialConfig]) -> tuple[ModelConfig, ...]:
    """Nothing in the section is continuous."""
    written = [ModelConfig.model_validate_json(json.dumps(tree)) for tree in _values(study.space.tree["model"])]
    return tuple(dict.fromkeys([*written, *(trial.model for trial in arms)]))


def _layers(study: Study, arms: Sequence[TrialConfig]) -> tuple[Layer, ...]:
    of_arms = [layer for trial in arms if trial.suppression for layer in trial.suppression.layers]
    possible = [*_written_layers(study), *of_arms]
    return tuple(layer for layer in get_args(Layer) if layer in possible and layer != "decoder")


def _written_layers(study: Study) -> Iterator[object]:
    suppression = study.space.tree.get("suppression")
    sections = suppression.options if isinstance(suppression, Choice) else (suppression,)
    if study.space.tree.get("preset") not in REPLACE_SUPPRESSION:
        for section in sections:
            for layer in _values(section.get("layer") if isinstance(section, dict) else None):
                yield from layer if isinstance(layer, list) else [layer]


def _data(study: Study, arms: Sequence[TrialConfig]) -> tuple[DataConfig, ...]:
    sections = [frames_section(tree) for tree in _values(_frames_only(study.space.tree["data"]))]
    sections += [trial.data.model_copy(update={"augment": Augment()}) for trial in arms]
    evaluation = study.space.tree.get("evaluation")
    tested = isinstance(evaluation, dict) and evaluation.get("test_at_end") is True
    if study.spec.confirm is not None or tested or any(trial.evaluation.test_at_end for trial in arms):
        sections += [split for data in sections if (split := usable_test_split(data)) is not None]
    return tuple(dict.fromkeys(sections))


def _frames_only(tree: Tree) -> Tree:
    """The tree without what does not decide the frames of files: augmentation, and (of shapes alone) real numbers."""
    match tree:
        case Choice():
            return replace(tree, options=tuple(_frames_only(option) for option in tree.options))
        case Float():
            return tree.center()
        case dict():
            return {key: _frames_only(child) for key, child in tree.items() if key != "augment"}
        case list():
            return [_frames_only(child) for child in tree]
        case _:
            return tree


def _values(part: Tree) -> Iterator[object]:
    """Every value that a finite part of a search space may have."""
    space = SearchSpace({"part": part})
    for cell in space.cells():
        yield space.resolve(lambda name, _, cell=cell: cell[name])["part"]  # type: ignore[misc]
