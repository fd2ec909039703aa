"""The ``train`` section: epochs, batches, optimizer and loss weights. Imports no torch."""

from typing import Annotated, Literal

from pydantic import Field

from trainable.section import Section


class AdamW(Section):
    """AdamW with torch's default betas."""

    name: Literal["adamw"]
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled weight decay."""


class SGD(Section):
    """SGD with momentum."""

    name: Literal["sgd"]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum."""
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    """L2 penalty, as torch.optim.SGD defines it."""


Optimizer = Annotated[AdamW | SGD, Field(discriminator="name")]


class TrainConfig(Section):
    """How a trial trains."""

    epochs: Annotated[int, Field(ge=1)]
    """Passes over the training images."""
    batch_size: Annotated[int, Field(ge=1)]
    """Images per optimizer step."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate at the first step."""
    optimizer: Optimizer = AdamW(name="adamw")
    """Optimizer and its own settings."""
    poly_power: Annotated[float, Field(ge=0)] = 0.9
    """The learning rate decays as (1 - t/T)^poly_power per step; 0 keeps it constant."""
    class_weights: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    """Weight of each class in the cross-entropy, one per class of the data; null weighs all alike."""
    precision: Literal["auto", "fp32"] = "auto"
    """auto: bfloat16 autocast on a GPU, float32 on a CPU."""
