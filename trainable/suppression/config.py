"""The ``suppression`` section: DropClass (Chu, Kim, Han, NeurIPS 2021, arXiv 2111.00531). Imports no torch.

Its three knobs are the suppression probability (``p_max``, ``schedule`` and what belongs to them), the sampling
strategy and the feature layer. Defaults are the official setting.
"""

import math
from fractions import Fraction
from operator import not_
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, Tag, ValidationInfo, field_validator, model_serializer, model_validator

from trainable.configfile.mistakes import RuleError
from trainable.section import BY_NAME, NAME_ALONE, ONE_OR_LIST, Section
from trainable.suppression.mechanism_sections import Auto, ChannelMechanism, Erase, Gate, Mechanism
from trainable.suppression.sampling_sections import Sampling, Uniform

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


Layer = Literal[
    "input",
    "encoder.1", "encoder.2", "encoder.3", "encoder.4", "encoder.5",
    "branch.1", "branch.2", "branch.3", "branch.4",
    "decoder",
]  # fmt: skip
"""In the order of the network."""
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
    stage k of the encoder, the rest of the network runs on the suppressed map; branch.k: branch k of hrnet; input: the
    image, in which a mechanism can only erase. Erasing has one path and no block: alpha, loss_ramp, gate_norm,
    importance, gradient_every, norm_momentum and recalibrate are refused beside input alone and beside mechanism erase;
    where a search may choose other layers too they are allowed, and a trial at the input is trained as without them."""
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
    mechanism: Annotated[Mechanism, Field(validate_default=True)] = Auto(name="auto")
    """How a layer is suppressed; auto: erase at the input, gate elsewhere (official). In a list of layers erase acts on
    what both paths see."""
    reweight: Annotated[Literal["mean", "keep"], Field(exclude_if="mean".__eq__)] = "mean"
    """What the suppressed loss is divided by; mean: the pixels that are left (official), so that a drop raises the
    weight of the other classes; keep: all labelled pixels, so that it does not (of the losses ce, focal and
    logit_adjusted, which are means over pixels)."""
    norm_momentum: Annotated[float, Field(gt=0, le=1, exclude_if=NORM_MOMENTUM.__eq__)] = NORM_MOMENTUM
    """Share of a step's batch statistics in the running ones of the block's batch norm (official: 0.01, which takes
    some 500 steps to forget where it began)."""
    recalibrate: Annotated[bool, Field(exclude_if=not_)] = False
    """Before an evaluation, recompute the running statistics of the block's batch norm on training images as they are,
    every class kept: short schedules need it. Training goes on as without it."""
    start: Annotated[float, Field(ge=0, lt=1, exclude_if=not_)] = 0.0
    """Share of the epochs, rounded down to whole ones, that train the plain model, bit for bit. Suppression begins
    after them, and u grows from 0 over the epochs that are left. Trials of one seed that agree in all that acts before
    may share these epochs."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The suppressed layers, in the order of the network."""
        return tuple(sorted(_listed(self.layer), key=get_args(Layer).index))

    @property
    def blocks(self) -> tuple[Layer, ...]:
        """The layers that have a block, where channels are changed."""
        return tuple(layer for layer in self.layers if not isinstance(self.mechanism_at(layer), Erase))

    @property
    def erased(self) -> tuple[Layer, ...]:
        """The layers where pixels are erased."""
        return tuple(layer for layer in self.layers if isinstance(self.mechanism_at(layer), Erase))

    @property
    def erase(self) -> Erase | None:
        """How they are erased; None where no layer is."""
        mechanism = self.mechanism_at(self.layers[0])  # all of a list but the input have one mechanism
        return mechanism if isinstance(mechanism, Erase) else None

    def plain_epochs(self, epochs: int) -> int:
        """Epochs of the plain model that come first, fewer than ``epochs``; 0.29 of 100 is 29, not 28.99."""
        return math.floor(Fraction(str(self.start)) * epochs)

    def mechanism_at(self, layer: Layer) -> ChannelMechanism | Erase:
        """How a layer is suppressed."""
        if isinstance(self.mechanism, Auto):
            return Erase(name="erase") if layer == "input" else Gate(name="gate")
        return self.mechanism

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

    @field_validator("mechanism")
    @classmethod
    def _auto_by_its_name(cls, mechanism: Mechanism, info: ValidationInfo) -> Mechanism:
        """Auto without the input is gate, under which name older versions kept such trials."""
        maps_alone = isinstance(mechanism, Auto) and "input" not in _listed(info.data.get("layer", "decoder"))
        return Gate(name="gate") if maps_alone else mechanism

    @model_validator(mode="after")
    def _input_is_erased(self) -> Self:
        if "input" in self.layers and isinstance(self.mechanism, ChannelMechanism):
            message = f"'{self.mechanism.name}' changes channels, of which input has none to change"
            raise RuleError(
                f"{message}; use erase, or auto (erase at the input, gate elsewhere)", "suppression.mechanism"
            )
        return self

    @model_validator(mode="after")
    def _classifier_knows_the_decoder_only(self) -> Self:
        others = [layer for layer in self.blocks if layer != "decoder"]
        if self.importance == "classifier" and others:
            use = f"auto, auxiliary or gradient at {', '.join(others)}"
            message = f"the classifier's weights fit the decoder's channels only; use {use}"
            raise RuleError(message, "suppression.importance")
        return self


def _listed(layer: Layer | tuple[Layer, ...]) -> tuple[Layer, ...]:
    return (layer,) if isinstance(layer, str) else layer
