"""The sections of the sampling strategies: how the class to suppress is drawn. Imports no torch."""

from typing import Annotated, Literal

from pydantic import Field, Tag, field_validator

from trainable.parts.section import BUILT_IN_OR_OWN, OwnMember
from trainable.section import BUILT_IN, BY_NAME, NAME_ALONE, Section


class Uniform(Section):
    """Every class is equally likely to be suppressed (official)."""

    name: Literal["uniform"]


class Present(Section):
    """Uniform over the classes that occur in what shares the draw: the batch, the group or the image."""

    name: Literal["present"]


class Frequency(Section):
    """Class z with weight f_z, its share of the training pixels: suppresses the dominant context."""

    name: Literal["frequency"]


class InverseFrequency(Section):
    """Class z with weight f_z^(-tau), f its share of the training pixels: rare classes are suppressed more often."""

    name: Literal["inverse_frequency"]
    tau: Annotated[float, Field(gt=0, le=10)] = 1.0
    """Exponent; 0 would be uniform."""


class EffectiveNumber(Section):
    """Class z with weight (1 - beta) / (1 - beta^n_z), n the training images that hold it (Cui et al. 1901.05555)."""

    name: Literal["effective_number"]
    beta: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """0 is uniform; towards 1 the weight goes with 1/n."""


class Temperature(Section):
    """Class z with weight softmax((1 - f_z) / T): DAFormer's rare class sampling (2111.14887)."""

    name: Literal["temperature"]
    temperature: Annotated[float, Field(ge=1e-6, le=100)] = 0.1
    """T: small values suppress the rarest classes alone, large ones are nearly uniform."""


class Difficulty(Section):
    """Class z with weight (1 - IoU_z)^tau, IoU of moving averages over training batches (after CDB loss, 2010.01824).

    Pixels counted right and pixels counted at all are averaged, so that a class keeps its IoU where it does not occur.
    """

    name: Literal["difficulty"]
    tau: Annotated[float, Field(gt=0, le=10)] = 1.0
    """Exponent; 0 would be uniform."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Weight of the past in the moving average, per training step."""


class CoOccurrence(Section):
    """Class z with weight E[p_b | z present] / E[p_b | z absent], mean over the rare classes b (2001.03152).

    p_b is 1 in a training image that holds b, smoothed by one image; a class counts as rare below 2 % of the training
    pixels. A class that is the only rare one predicts no other and is never drawn.
    """

    name: Literal["co_occurrence"]


class RoundRobin(Section):
    """The classes in turn."""

    name: Literal["round_robin"]


class Listed(Section):
    """All of the listed classes each time, whatever ``num_classes`` says."""

    name: Literal["listed"]
    classes: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1, max_length=254)]
    """Names of classes, fewer than the data has."""

    @field_validator("classes")
    @classmethod
    def _no_class_twice(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(classes)) < len(classes):
            raise ValueError("lists a class twice")
        return classes


BuiltInSampling = Annotated[
    Uniform
    | Present
    | Frequency
    | InverseFrequency
    | EffectiveNumber
    | Temperature
    | Difficulty
    | CoOccurrence
    | RoundRobin
    | Listed,
    BY_NAME,
]
Sampling = Annotated[Annotated[BuiltInSampling, Tag(BUILT_IN)] | OwnMember, BUILT_IN_OR_OWN, NAME_ALONE]
