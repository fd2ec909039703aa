"""The ``model`` section: an architecture of segmentation-models-pytorch and its encoder. Imports no torch."""

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field, field_validator

from trainable.configfile.mistakes import unknown
from trainable.model.encoders import ENCODERS, TIMM_PREFIX
from trainable.section import Section

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
]
"""Every smp architecture whose forward is encoder -> decoder -> segmentation_head. ``dpt`` is not: its decoder needs
the prefix tokens of a ViT encoder besides the features."""


class ModelConfig(Section):
    """A segmentation model: ``smp.create_model(arch, encoder)``."""

    arch: Arch
    """Architecture, by its name in segmentation-models-pytorch."""
    encoder: Annotated[str, Field(min_length=1)]
    """Encoder, by its name in segmentation-models-pytorch; ``tu-NAME`` takes any timm model."""
    encoder_weights: str | None = "imagenet"
    """Pretrained weights of the encoder; null starts from random weights and downloads nothing."""

    @field_validator("encoder")
    @classmethod
    def _is_known(cls, encoder: str) -> str:
        """Names of timm models are not looked up: timm imports torch."""
        if not encoder.startswith(TIMM_PREFIX) and encoder not in ENCODERS:
            raise ValueError(f"{unknown(encoder, ENCODERS, 'encoder')}; {TIMM_PREFIX}NAME takes any timm model")
        return encoder


def is_surely_buildable(model: ModelConfig, encoder_layers: Collection[str]) -> bool:
    """Whether `check_model` would pass, told without smp: every architecture takes a plain ResNet (a test trains each).

    All but pspnet, which ends at stage 3, have its five stages. False says nothing.
    """
    resnet = model.encoder in ENCODERS and model.encoder.startswith("resnet") and model.encoder_weights is None
    return resnet and (model.arch != "pspnet" or not encoder_layers)
