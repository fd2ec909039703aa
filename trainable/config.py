"""The configuration of one trial: the root that composes the sections. Imports no torch."""

from typing import Self

from pydantic import model_validator

from trainable.data.classes import class_names
from trainable.data.config import DataConfig
from trainable.data.errors import DataError
from trainable.inference.config import Evaluation
from trainable.model.config import ModelConfig
from trainable.optim.config import TrainConfig
from trainable.section import Section
from trainable.suppression.config import SuppressionConfig


class TrialConfig(Section):
    """Everything that decides the outcome of one trial."""

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
    seed: int = 0
    """Seed of weights, data order, augmentation and suppression. A study derives it from its own seed."""

    @model_validator(mode="after")
    def _one_weight_per_class(self) -> Self:
        weights = self.train.class_weights
        if weights is None:
            return self
        try:
            classes = class_names(self.data)
        except DataError:  # a folder's classes.yaml: whoever checks the data says what is wrong with it
            return self
        if len(weights) != len(classes):
            raise ValueError(
                f"train.class_weights: {len(weights)} weights, but {self.data.name} has {len(classes)} classes"
            )
        return self
