"""The ``model`` section: an architecture of segmentation-models-pytorch and its encoder. Imports no torch."""

from typing import Annotated, Literal

from pydantic import Field

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
