"""The configuration of one trial: the root that composes the sections. Imports no torch."""

import json
from collections.abc import Mapping, Sequence
from typing import Self

from pydantic import model_validator

from trainable.configfile.mistakes import RuleError, unknown
from trainable.data.classes import class_names
from trainable.data.config import DataConfig
from trainable.data.errors import DataError
from trainable.data.layout import labelled_test_split
from trainable.evaluate.config import Evaluation
from trainable.loss.config import Dice, LogitAdjusted, Lovasz, Ohem
from trainable.model.config import ModelConfig
from trainable.optim.config import TrainConfig
from trainable.presets import PRESETS, Preset, apply_preset
from trainable.section import Section, Seed
from trainable.suppression.config import SuppressionConfig
from trainable.suppression.sampling_sections import Listed

MOST_PIXELS = 2**28
"""Of a batch or a frame: the maps of a network take hundreds of bytes for each, and a GPU has 80 to 200 GB."""


class TrialConfig(Section):
    """Everything that decides the outcome of one trial."""

    preset: Preset | None = None
    """Name of a setting that replaces parts of what is written here: official, none, or an arm of an ablation."""
    data: DataConfig
    """Data set, size and augmentation."""
    model: ModelConfig
    """Architecture and encoder."""
    train: TrainConfig
    """Epochs, optimizer, schedule."""
    suppression: SuppressionConfig | None = None
    """Class suppression; null is the plain model."""
    evaluation: Evaluation = Evaluation()
    """How the evaluation predicts."""
    seed: Seed = 0
    """Seed of weights, data order, augmentation and suppression. A study derives it from its own seed."""

    @property
    def plain_epochs(self) -> int:
        """Epochs at the beginning that are those of the plain trial; all of them where nothing is suppressed."""
        return self.suppression.plain_epochs(self.train.epochs) if self.suppression else self.train.epochs

    def plain(self) -> "TrialConfig":
        """The trial without suppression: what the plain epochs train."""
        return self.model_copy(update={"suppression": None, "preset": None})

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, tree: object) -> object:
        if not isinstance(tree, dict):
            return tree
        preset = next((name for name in PRESETS if name == tree.get("preset")), None)
        return _with_tuples(tree if preset is None else apply_preset(preset, tree))

    @model_validator(mode="after")
    def _has_a_test_split(self) -> Self:
        if self.evaluation.test_at_end and labelled_test_split(self.data) is None:
            message = f"{self.data.name} has no labelled test split besides the one that is scored"
            raise RuleError(message, "evaluation.test_at_end")
        return self

    @model_validator(mode="after")
    def _adjusts_once(self) -> Self:
        changing = [name for name in ("rare_class_sampling", "rare_copy_paste") if getattr(self.data, name)]
        if changing and isinstance(self.train.loss, LogitAdjusted):
            message = f"adjusts to the shares of the training pixels, which data.{changing[0]} changes; use one"
            raise RuleError(f"logit_adjusted {message}", "train.loss")
        return self

    @model_validator(mode="after")
    def _keeps_a_mean_over_pixels(self) -> Self:
        keeps = self.suppression is not None and self.suppression.reweight == "keep"
        if keeps and isinstance(self.train.loss, Ohem | Dice | Lovasz):
            message = f"keep divides by all labelled pixels, of which '{self.train.loss.name}' is no mean"
            raise RuleError(f"{message}; use mean, or the loss ce, focal or logit_adjusted", "suppression.reweight")
        return self

    @model_validator(mode="after")
    def _fits_a_machine(self) -> Self:
        height, width = self.data.augment.crop or self.data.size
        pixels = self.train.batch_size * height * width
        if pixels > MOST_PIXELS:
            message = f"{self.train.batch_size} images of {height} x {width} are {pixels / 1e6:.0f} megapixels"
            raise RuleError(f"{message}; a batch holds at most {MOST_PIXELS / 1e6:.0f}", "train.batch_size")
        lowest = (self.data.augment.scale or (1,))[0]
        if height * width / lowest**2 > MOST_PIXELS:
            message = f"a crop of {height} x {width} at scale {lowest:g} is cut from"
            needed = f"{height * width / lowest**2 / 1e6:.0f} megapixels; at most {MOST_PIXELS / 1e6:.0f}"
            raise RuleError(f"{message} {needed}", "data.augment.scale")
        (height, width), largest = self.data.size, max(self.evaluation.scales)
        if height * width * largest**2 > MOST_PIXELS:
            message = f"{height} x {width} at scale {largest:g} are {height * width * largest**2 / 1e6:.0f} megapixels"
            raise RuleError(f"{message}; a frame has at most {MOST_PIXELS / 1e6:.0f}", "evaluation.scales")
        return self

    @model_validator(mode="after")
    def _has_the_layers(self) -> Self:
        layers = self.suppression.layers if self.suppression else ()
        for layer in layers:
            if layer not in ("input", "decoder", *self.model.inner_layers):
                names = ", ".join(("input", *self.model.inner_layers, "decoder"))
                raise RuleError(f"'{self.model.arch_name}' has no '{layer}'; it has {names}", "suppression.layer")
        return self

    @model_validator(mode="after")
    def _has_other_images(self) -> Self:
        erase = self.suppression.erase if self.suppression else None
        what = "data.rare_copy_paste" if self.data.rare_copy_paste else None
        if erase is not None and erase.needs_other_images:
            what = "fill swap" if erase.fill == "swap" else "mask elsewhere"
        if what is not None and self.train.batch_size < 2:
            raise RuleError(f"{what} takes another image of the batch: at least 2, got 1", "train.batch_size")
        return self

    @model_validator(mode="after")
    def _needs_no_other_micro_batch(self) -> Self:
        suppression = self.suppression if self.train.accumulate > 1 else None
        if suppression is None:
            return self
        if any(suppression.importance_at(layer) == "gradient" for layer in suppression.blocks):
            message = "importance gradient is measured on the whole batch at once, of which accumulate holds a part"
            raise RuleError(f"{message}; use 1, or importance auto", "train.accumulate")
        erase = suppression.erase
        if erase is not None and erase.fill == "swap" and suppression.erased != ("input",):
            message = "fill swap in a map takes another image of the batch, which may be in another micro-batch"
            raise RuleError(f"{message}; use 1, or another fill", "train.accumulate")
        return self

    @model_validator(mode="after")
    def _fits_the_classes(self) -> Self:
        weights = self.train.class_weights
        try:
            classes = class_names(self.data)
        except DataError:  # a folder's classes.yaml: whoever checks the data says what is wrong with it
            return self
        if isinstance(weights, tuple) and len(weights) != len(classes):
            message = f"{len(weights)} weights, but {self.data.name} has {len(classes)} classes"
            raise RuleError(message, "train.class_weights")
        if isinstance(weights, tuple) and not any(weights):
            raise RuleError("a class needs a weight above 0", "train.class_weights")
        if isinstance(self.train.loss, Lovasz) and len(classes) < 2:
            raise RuleError("lovasz compares classes, and the data has one; use ce", "train.loss")
        if self.suppression and self.suppression.num_classes >= len(classes):
            message = f"must be below the number of classes, {self.data.name} has {len(classes)}"
            raise RuleError(f"{message}; got {self.suppression.num_classes}", "suppression.num_classes")
        if self.suppression and isinstance(self.suppression.sampling, Listed):
            _check_listed(self.suppression.sampling.classes, classes)
        if self.evaluation.context and self.evaluation.context.classes != "all":
            _check_known(self.evaluation.context.classes, classes, "evaluation.context.classes")
        return self


def _check_known(listed: Sequence[str], classes: Sequence[str], path: str) -> None:
    """Raise RuleError for a listed class that the data does not have."""
    for name in listed:
        if name not in classes:
            raise RuleError(unknown(name, classes, "class"), path)


def _check_listed(listed: Sequence[str], classes: Sequence[str]) -> None:
    """Raise RuleError for a listed class that the data does not have, or a list of all."""
    _check_known(listed, classes, "suppression.sampling.classes")
    if len(listed) == len(classes):
        raise RuleError("lists every class: nothing would be left", "suppression.sampling.classes")


def read_trial(tree: Mapping[str, object]) -> TrialConfig:
    """The trial that a tree of plain values describes, as JSON holds it; raises pydantic's ``ValidationError``."""
    return TrialConfig.model_validate_json(json.dumps(dict(tree)))


def _with_tuples(value: object) -> object:
    """JSON's lists as tuples: behind a validator of its own, pydantic no longer knows that the input was JSON."""
    if isinstance(value, dict):
        return {key: _with_tuples(child) for key, child in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value
