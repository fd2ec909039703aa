"""The ``suppression`` section: DropClass (Chu, Kim, Han, NeurIPS 2021, arXiv 2111.00531). Imports no torch."""

from typing import Annotated, Literal

from pydantic import Field

from trainable.section import Section


class UniformSampling(Section):
    """Every class is equally likely to be suppressed (official)."""

    name: Literal["uniform"]


class PresentSampling(Section):
    """Uniform over the classes that occur in the batch."""

    name: Literal["present"]


class InverseFrequencySampling(Section):
    """Class z with weight f_z^(-tau), f its share of the training pixels: rare classes are suppressed more often."""

    name: Literal["inverse_frequency"]
    tau: Annotated[float, Field(gt=0, le=10)] = 1.0
    """Exponent; 0 would be uniform."""


Sampling = Annotated[UniformSampling | PresentSampling | InverseFrequencySampling, Field(discriminator="name")]


class SuppressionConfig(Section):
    """Class suppression during training; its defaults are the official DropClass setting.

    Leave the section out, or write ``suppression: null``, for the plain model without the suppression block.
    """

    layer: Literal["decoder"] = "decoder"
    """Feature map that is suppressed; decoder: the input of the classifier (official)."""
    p_max: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Largest probability that a training step suppresses a class."""
    schedule: Literal["linear", "constant"] = "linear"
    """p(u) over the training progress u: linear p_max * u (official), or constant p_max."""
    loss_ramp: Literal["linear", "constant"] = "linear"
    """Weight of the suppressed path in the loss: linear u (official), or constant one half."""
    alpha: Annotated[float, Field(ge=0, le=30)] = 10.0
    """Weight of the suppression term, the mean probability of the suppressed class."""
    gate_norm: Literal["none", "mean"] = "none"
    """mean: normalise the gate to mean 1 over channels (short schedules need it); none: official."""
    sampling: Sampling = UniformSampling(name="uniform")
    """How the class to suppress is drawn."""
