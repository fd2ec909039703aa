"""The ``train`` section: epochs, batches, optimizer and loss weights. Imports no torch."""

from operator import not_
from typing import Annotated, Literal, Self

from pydantic import Field, Tag, model_validator

from trainable.configfile.mistakes import RuleError
from trainable.loss.config import CrossEntropy, Dice, Loss, Lovasz
from trainable.section import BY_NAME, NAME_ALONE, ONE_OR_LIST, Section


class AdamW(Section):
    """AdamW with torch's default betas."""

    name: Literal["adamw"]
    weight_decay: Annotated[float, Field(ge=0, le=1000)] = 0.01
    """Decoupled weight decay."""


class SGD(Section):
    """SGD with momentum."""

    name: Literal["sgd"]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum."""
    weight_decay: Annotated[float, Field(ge=0, le=1000)] = 5e-4
    """L2 penalty, as torch.optim.SGD defines it."""


Optimizer = Annotated[AdamW | SGD, BY_NAME, NAME_ALONE]


ClassWeights = Annotated[
    Annotated[Literal["log_frequency"], Tag("one")]
    | Annotated[tuple[Annotated[float, Field(ge=0, le=1e6)], ...], Tag("list")],
    ONE_OR_LIST,
]


class TrainConfig(Section):
    """How a trial trains."""

    epochs: Annotated[int, Field(ge=1, le=100_000)]
    """Passes over the training images; each is a row of tables and pages."""
    batch_size: Annotated[int, Field(ge=1, le=100_000)]
    """Images per optimizer step."""
    lr: Annotated[float, Field(gt=0, le=1e20)] = 1e-3
    """Learning rate at the first step, or what a warm-up rises to; float32 ends at 1e38."""
    optimizer: Optimizer = AdamW(name="adamw")
    """Optimizer and its own settings."""
    poly_power: Annotated[float, Field(ge=0, le=100)] = 0.9
    """The learning rate decays as (1 - t/T)^poly_power per step; 0 keeps it constant."""
    warmup_epochs: Annotated[float, Field(ge=0, le=100_000, exclude_if=not_)] = 0.0
    """Epochs in which the learning rate rises linearly to what it would be without; parts of an epoch count."""
    warmup_steps: Annotated[int, Field(ge=0, le=10**9, exclude_if=not_)] = 0
    """The same in optimizer steps."""
    encoder_lr_factor: Annotated[float, Field(ge=0, le=1000, exclude_if=(1.0).__eq__)] = 1.0
    """Learning rate of the encoder's weights in relation to ``lr``; 0 leaves them as they are."""
    clip_norm: Annotated[float, Field(gt=0, le=1e6)] | None = Field(default=None, exclude_if=not_)
    """Gradients longer than this, all weights together, are shortened to it; null shortens none."""
    loss: Annotated[Loss, Field(exclude_if=CrossEntropy(name="ce").__eq__)] = CrossEntropy(name="ce")
    """What each path is trained by: ce, ohem, focal, dice, lovasz or logit_adjusted; the suppression term stays."""
    class_weights: ClassWeights | None = None
    """Weight of each class in the loss, one per class of the data; log_frequency: 1 / ln(1.02 + share of the training
    pixels) (ENet, 1606.02147), scaled to mean 1; null weighs all alike."""
    compile: bool = False
    """Compile the network with torch.compile: slower to start, faster per step on a GPU. With an encoder stage
    suppressed only what follows the encoder is compiled."""
    precision: Literal["auto", "fp32"] = "auto"
    """auto: bfloat16 autocast on a GPU, float32 on a CPU."""

    memory: Annotated[Literal["standard", "exact", "recompute"], Field(exclude_if="standard".__eq__)] = "standard"
    """standard keeps every activation for the backward pass; recompute keeps those between the blocks of the network
    and computes the others again, which takes a fourth longer and gives exactly the same; exact allows a study to do so
    where a trial runs out of GPU memory."""

    @model_validator(mode="after")
    def _recomputes_what_is_not_compiled(self) -> Self:
        if self.compile and self.memory != "standard":
            raise RuleError(f"{self.memory} does not go with compile: true; use one of the two", "train.memory")
        return self

    @model_validator(mode="after")
    def _one_warm_up_within_the_training(self) -> Self:
        if self.warmup_epochs and self.warmup_steps:
            raise RuleError("write warmup_epochs or warmup_steps, not both", "train.warmup_steps")
        if self.warmup_epochs >= self.epochs:
            raise RuleError(
                f"must be below train.epochs ({self.epochs}), got {self.warmup_epochs:g}", "train.warmup_epochs"
            )
        return self

    @model_validator(mode="after")
    def _class_weights_have_an_effect(self) -> Self:
        if self.class_weights is not None and isinstance(self.loss, Dice | Lovasz) and not self.loss.ce:
            message = f"weigh the cross-entropy, of which {self.loss.name} has none"
            raise RuleError(f"{message}; give train.loss.ce a weight above 0", "train.class_weights")
        return self
