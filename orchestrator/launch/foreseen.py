"""What the trials of a study may be, as far as it is known before the first: their models, layers and data sets."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import get_args

from orchestrator.plan.ablation import expected
from orchestrator.plan.confirmation import usable_test_split
from orchestrator.store.data_fingerprints import frames_section
from orchestrator.studyfile import SearchSpace, Study
from orchestrator.studyfile.space.domain import Choice, Float, Int, Tree
from orchestrator.studyfile.space.trees import frames_only
from trainable.config import TrialConfig
from trainable.data.config import DataConfig, ShapesData, Size, frames_of, read_data, scaled_size
from trainable.evaluate.config import Evaluation
from trainable.model.config import ModelConfig
from trainable.presets import REPLACE_SUPPRESSION
from trainable.suppression.config import Layer


@dataclass(frozen=True)
class Images:
    """A pass over images that a model has to make."""

    model: ModelConfig
    batch: int
    size: Size
    training: bool


@dataclass(frozen=True)
class Foreseen:
    """What trials may have. No two entries are equal."""

    models: tuple[ModelConfig, ...]
    layers: tuple[Layer, ...]
    """Encoder stages and branches that may be suppressed, the first stage first."""
    data: tuple[DataConfig, ...]
    """Without training's part; of real domains the middle; labelled test splits where some trial is scored on one."""
    images: tuple[Images, ...]
    """Every size of images that each model meets, with the smallest and the largest batch."""


@lru_cache(maxsize=1)
def foreseen(study: Study) -> Foreseen:
    """What the trials of a study may have; worked out once for a study object."""
    arms = expected(study)
    models = _models(study, [])
    images = [_seen(model, *parts) for model in models for parts in _parts(study)]
    images += [_seen(trial.model, trial.data, trial.train.batch_size, trial.evaluation) for trial in arms]
    every = dict.fromkeys(each for seen in images for each in seen)
    return Foreseen(_models(study, arms), _layers(study, arms), _data(study, arms), tuple(every))


def images_of(trial: TrialConfig) -> Images:
    """The training batch of a trial."""
    return _seen(trial.model, trial.data, trial.train.batch_size, trial.evaluation)[0]


def _seen(model: ModelConfig, data: DataConfig, batch: int, evaluation: Evaluation) -> list[Images]:
    """What a model meets in a trial, the training batch first."""
    if isinstance(data, ShapesData):
        batch = min(batch, data.train_images)
    model = ModelConfig(arch=model.arch, encoder=model.encoder, encoder_weights=None)  # weights decide no shape
    trained = Images(model, batch, data.augment.crop or data.size, training=True)
    sizes = [scaled_size(data.size, scale) for scale in evaluation.scales]
    if (window := evaluation.window) is not None:
        sizes = [(min(window[0], height), min(window[1], width)) for height, width in sizes]
    return [trained, *(Images(model, 1, size, training=False) for size in sizes)]


def _parts(study: Study) -> list[tuple[DataConfig, int, Evaluation]]:
    """Data, batch sizes and evaluations of the search as far as they decide the images of a pass."""
    tree = study.space.tree
    data = dict.fromkeys(read_data(part) for part in _values(_ends(tree["data"])))
    sized = {(part.size, part.augment.crop, getattr(part, "train_images", 0)): part for part in data}
    batches = [int(str(n)) for n in _values(_ends(_batch_size(tree["train"])))]
    written = _values(_ends(tree.get("evaluation", {})))
    evaluations = dict.fromkeys(Evaluation.model_validate_json(json.dumps(part)) for part in written)
    return list(product(sized.values(), sorted({min(batches), max(batches)}), evaluations))


def _batch_size(train: Tree) -> Tree:
    """The batch size in a ``train`` section, which may be one of several."""
    if isinstance(train, Choice):
        options = tuple(map(_batch_size, train.options))
        return Choice(options, tuple(range(len(options))))
    return train["batch_size"] if isinstance(train, dict) else train


def _ends(tree: Tree) -> Tree:
    """The tree with both ends of each domain of whole numbers and the middle of those of real ones."""
    match tree:
        case Choice():
            return replace(tree, options=tuple(map(_ends, tree.options)))
        case Int():
            return Choice((tree.low, tree.high), (tree.low, tree.high))
        case Float():
            return tree.center()
        case dict():
            return {key: _ends(child) for key, child in tree.items()}
        case list():
            return list(map(_ends, tree))
        case _:
            return tree


def _models(study: Study, arms: Sequence[TrialConfig]) -> tuple[ModelConfig, ...]:
    """Nothing in the section is continuous."""
    written = [ModelConfig.model_validate_json(json.dumps(tree)) for tree in _values(study.space.tree["model"])]
    return tuple(dict.fromkeys([*written, *(trial.model for trial in arms)]))


def _layers(study: Study, arms: Sequence[TrialConfig]) -> tuple[Layer, ...]:
    of_arms = [layer for trial in arms if trial.suppression for layer in trial.suppression.layers]
    possible = [*_written_layers(study), *of_arms]
    return tuple(layer for layer in get_args(Layer) if layer in possible and layer not in ("input", "decoder"))


def _written_layers(study: Study) -> Iterator[object]:
    suppression = study.space.tree.get("suppression")
    sections = suppression.options if isinstance(suppression, Choice) else (suppression,)
    if study.space.tree.get("preset") not in REPLACE_SUPPRESSION:
        for section in sections:
            for layer in _values(section.get("layer") if isinstance(section, dict) else None):
                yield from layer if isinstance(layer, list) else [layer]


def _data(study: Study, arms: Sequence[TrialConfig]) -> tuple[DataConfig, ...]:
    sections = [frames_section(tree) for tree in _values(frames_only(study.space.tree["data"]))]
    sections += [frames_of(trial.data) for trial in arms]
    evaluation = study.space.tree.get("evaluation")
    tested = isinstance(evaluation, dict) and evaluation.get("test_at_end") is True
    if study.spec.confirm is not None or tested or any(trial.evaluation.test_at_end for trial in arms):
        sections += [split for data in sections if (split := usable_test_split(data)) is not None]
    return tuple(dict.fromkeys(sections))


def _values(part: Tree) -> Iterator[object]:
    """Every value that a finite part of a search space may have."""
    space = SearchSpace({"part": part})
    for cell in space.cells():
        yield space.resolve(lambda name, _, cell=cell: cell[name])["part"]  # type: ignore[misc]
