"""The ``model`` section: an architecture and its encoder. Imports no torch."""

from collections.abc import Collection
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from trainable.configfile.mistakes import RuleError, unknown
from trainable.model.encoders import ENCODERS, TIMM_PREFIX
from trainable.section import Section
from trainable.suppression.config import Layer

Arch = Literal[
    "unet",
    "unetplusplus",
    "manet",
    "linknet",
    "fpn",
    "pspnet",
    "deeplabv3",
    "deeplabv3plus",
    "pan",
    "upernet",
    "segformer",
    "hrnet",
]
"""Every smp architecture whose forward is encoder -> decoder -> segmentation_head, and ``hrnet``, the paper's network.
``dpt`` is not among them: its decoder needs the prefix tokens of a ViT encoder besides the features."""

HRNETS = f"{TIMM_PREFIX}hrnet_"
"""How the names of the encoders begin that ``hrnet`` takes."""


class ModelConfig(Section):
    """A segmentation model: ``smp.create_model(arch, encoder)``, or ``hrnet``."""

    arch: Arch
    """Architecture, by its name in segmentation-models-pytorch; hrnet: the paper's head, on timm's HRNets."""
    encoder: Annotated[str, Field(min_length=1)]
    """Encoder, by its name in segmentation-models-pytorch; ``tu-NAME`` takes any timm model."""
    encoder_weights: str | None = "imagenet"
    """Pretrained weights of the encoder; null starts from random weights and downloads nothing."""
    init: Literal["torch", "small"] = "torch"
    """Initial weights of the classifier, the suppression block and hrnet's decoder: those that smp and torch give, or
    small: N(0, 0.001) (official). Everything else is the same with both."""

    @field_validator("encoder")
    @classmethod
    def _is_known(cls, encoder: str) -> str:
        """Names of timm models are not looked up: timm imports torch."""
        if not encoder.startswith(TIMM_PREFIX) and encoder not in ENCODERS:
            raise ValueError(f"{unknown(encoder, ENCODERS, 'encoder')}; {TIMM_PREFIX}NAME takes any timm model")
        return encoder

    @model_validator(mode="after")
    def _hrnet_takes_hrnets(self) -> Self:
        if self.arch == "hrnet" and not self.encoder.startswith(HRNETS):
            message = f"'hrnet' takes the branches of an HRNet, {HRNETS}w18_small to {HRNETS}w64; not '{self.encoder}'"
            raise RuleError(message, "model.encoder")
        return self

    @property
    def inner_layers(self) -> tuple[Layer, ...]:
        """The layers besides the decoder that the architecture may have."""
        kind = "branch." if self.arch == "hrnet" else "encoder."
        return tuple(layer for layer in get_args(Layer) if layer.startswith(kind))


def is_surely_buildable(model: ModelConfig, encoder_layers: Collection[str]) -> bool:
    """Whether `check_model` would pass, told without smp: every architecture takes a plain ResNet (a test trains each).

    All but pspnet, which ends at stage 3, have its five stages. False says nothing.
    """
    resnet = model.encoder in ENCODERS and model.encoder.startswith("resnet") and model.encoder_weights is None
    return resnet and (model.arch != "pspnet" or not encoder_layers)
