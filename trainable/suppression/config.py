"""The ``suppression`` section: DropClass (Chu, Kim, Han, NeurIPS 2021, arXiv 2111.00531). Imports no torch.

Its three knobs are the suppression probability (``p_max``, ``schedule`` and what belongs to them), the sampling
strategy and the feature layer. Defaults are the official setting.
"""

from operator import not_
from typing import Annotated, Literal, Self

from pydantic import Field, Tag, field_validator, model_serializer, model_validator

from trainable.configfile.mistakes import RuleError
from trainable.section import BY_NAME, NAME_ALONE, ONE_OR_LIST, Section

NORM_MOMENTUM = 0.01
"""The official code's, in torch's convention: the share of a new batch in the running statistics."""

Share = Annotated[float, Field(ge=0, le=1)]


class Linear(Section):
    """Grows with training progress u (official)."""

    name: Literal["linear"]


class Constant(Section):
    """p_max in every step."""

    name: Literal["constant"]


class WarmupConstant(Section):
    """Grows linearly from 0 to p_max during the warm-up and stays there."""

    name: Literal["warmup_constant"]
    warmup: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of the training after which p_max is reached."""


class Cosine(Section):
    """Half a cosine wave from 0 to its end value: (1 - cos(pi u)) / 2."""

    name: Literal["cosine"]


class ConstantWeight(Section):
    """The same weight in every step."""

    name: Literal["constant"]
    weight: Share = 0.5
    """Weight of the suppressed path; 1 trains that path alone."""


Schedule = Annotated[Linear | Constant | WarmupConstant | Cosine, BY_NAME, NAME_ALONE]
LossRamp = Annotated[Linear | ConstantWeight | Cosine, BY_NAME, NAME_ALONE]


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


Sampling = Annotated[
    Uniform
    | Present
    | Frequency
    | InverseFrequency
    | EffectiveNumber
    | Temperature
    | Difficulty
    | CoOccurrence
    | RoundRobin,
    BY_NAME,
    NAME_ALONE,
]


class _NameAlone(Section):
    """A section without settings, kept as its name."""

    name: str

    @model_serializer
    def _as_name(self) -> str:
        return self.name


class PerBatch(_NameAlone):
    """One draw for the whole batch (official, on one rank)."""

    name: Literal["batch"]


class PerImage(_NameAlone):
    """A draw for each image."""

    name: Literal["image"]


class Groups(Section):
    """A draw for each of several groups of neighbouring images, as the ranks of a distributed training make them.

    The official code on four ranks drops one class on rank 0 and another one on the other three: ``shares: [1, 3]``.
    """

    name: Literal["groups"]
    shares: Annotated[tuple[Annotated[int, Field(ge=1, le=100_000)], ...], Field(min_length=1, max_length=1000)] = (
        1,
        3,
    )
    """Size of each group in relation to the others. Group k ends at image B (s_1 + .. + s_k) / (s_1 + .. + s_n) of the
    batch's B, halves rounded up; in a batch of few images a group may be empty and drops nothing."""


Granularity = Annotated[PerBatch | PerImage | Groups, BY_NAME, NAME_ALONE]


class Gate(Section):
    """Scale each channel by the mean of the kept classes' importance (official)."""

    name: Literal["gate"]


class Hard(Section):
    """Set the channels most important to the suppressed class to zero (as RSC, 2007.02454)."""

    name: Literal["hard"]
    q: Annotated[float, Field(gt=0, lt=1)] = 0.33
    """Share of the channels that is masked."""


class Projection(Section):
    """Remove the component of the feature map along the suppressed class's importance (as INLP, 2004.07667)."""

    name: Literal["projection"]


class RandomChannels(Section):
    """Control: the factors by which the gate changes, on randomly permuted channels."""

    name: Literal["random_channels"]


Mechanism = Annotated[Gate | Hard | Projection | RandomChannels, BY_NAME, NAME_ALONE]

Layer = Literal[
    "decoder",
    "encoder.1", "encoder.2", "encoder.3", "encoder.4", "encoder.5",
    "branch.1", "branch.2", "branch.3", "branch.4",
]  # fmt: skip
GateNorm = Literal["none", "mean"]
ImportanceSource = Literal["classifier", "gradient", "auxiliary"]

Layers = Annotated[
    Annotated[Layer, Tag("one")] | Annotated[tuple[Layer, ...], Field(min_length=1), Tag("list")], ONE_OR_LIST
]


class SuppressionConfig(Section):
    """Class suppression during training; its defaults are the official DropClass setting.

    Leave the section out, or write ``suppression: null``, for the plain model without the suppression block.
    """

    layer: Layers = "decoder"
    """Feature map that is suppressed, or a list of them; decoder: the input of the classifier (official); encoder.k:
    stage k of the encoder, the rest of the network runs on the suppressed map; branch.k: branch k of hrnet."""
    p_max: Share = 1.0
    """Largest probability that a training step suppresses a class."""
    schedule: Schedule = Linear(name="linear")
    """p(u) over the training progress u: linear p_max * u (official), constant, warmup_constant or cosine."""
    progress: Literal["epoch", "iteration"] = "epoch"
    """Whether u grows with every epoch (official) or every training step."""
    loss_ramp: LossRamp = Linear(name="linear")
    """Weight of the suppressed path in the loss: linear u (official), constant or cosine."""
    alpha: Annotated[float, Field(ge=0, le=30)] = 10.0
    """Weight of the suppression term, the mean probability of the suppressed class."""
    granularity: Granularity = PerBatch(name="batch")
    """What shares a draw: the batch (official), each image alone, or groups of images (official on several ranks)."""
    num_classes: Annotated[int, Field(ge=1, le=254)] = 1
    """Classes that a drop suppresses at once (official: 1); fewer than the data has."""
    gate_norm: GateNorm = "none"
    """mean: normalise the gate to mean 1 over channels (short schedules need it); none: official."""
    sampling: Sampling = Uniform(name="uniform")
    """How the class to suppress is drawn."""
    importance: Literal["auto", "classifier", "gradient", "auxiliary"] = "auto"
    """Importance of a channel to a class: the classifier's weights (official; decoder only), gradient (Grad-CAM,
    2002.11434) or the weights of an auxiliary classifier; auto: classifier at the decoder, auxiliary elsewhere."""
    gradient_every: Annotated[int, Field(ge=1, le=100_000)] = 1
    """gradient: steps from one Grad-CAM to the next, which takes a backward pass per class; in between the running mean
    stands in."""
    mechanism: Mechanism = Gate(name="gate")
    """How the map is suppressed."""
    norm_momentum: Annotated[float, Field(gt=0, le=1, exclude_if=NORM_MOMENTUM.__eq__)] = NORM_MOMENTUM
    """Share of a step's batch statistics in the running ones of the block's batch norm (official: 0.01, which takes
    some 500 steps to forget where it began)."""
    recalibrate: Annotated[bool, Field(exclude_if=not_)] = False
    """Before an evaluation, recompute the running statistics of the block's batch norm on training images as they are,
    every class kept: short schedules need it. Training goes on as without it."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The suppressed layers, in the order of the network."""
        chosen = (self.layer,) if isinstance(self.layer, str) else self.layer
        return tuple(sorted(chosen, key=lambda layer: (layer == "decoder", layer)))

    def importance_at(self, layer: Layer) -> ImportanceSource:
        """Where the importance at a layer comes from."""
        if self.importance == "auto":
            return "classifier" if layer == "decoder" else "auxiliary"
        return self.importance

    @field_validator("layer")
    @classmethod
    def _no_layer_twice(cls, layer: Layer | tuple[Layer, ...]) -> Layer | tuple[Layer, ...]:
        if not isinstance(layer, str) and len(set(layer)) < len(layer):
            raise ValueError("lists a layer twice")
        return layer

    @model_validator(mode="after")
    def _classifier_knows_the_decoder_only(self) -> Self:
        if self.importance == "classifier" and self.layers != ("decoder",):
            use = f"auto, auxiliary or gradient at {', '.join(layer for layer in self.layers if layer != 'decoder')}"
            message = f"the classifier's weights fit the decoder's channels only; use {use}"
            raise RuleError(message, "suppression.importance")
        return self
