"""The ``train`` section: epochs, batches, optimizer and loss weights. Imports no torch."""

from operator import not_
from typing import Annotated, Literal, Self

from pydantic import Field, Tag, model_validator

from trainable.configfile.mistakes import RuleError
from trainable.loss.config import CrossEntropy, Dice, Loss, Lovasz, Ohem
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


Precision = Literal["auto", "fp32", "bf16", "fp16"]
"""In what the network computes; ``trainable.train.compute`` decides auto."""

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
    precision: Precision = "auto"
    """auto: on a GPU bf16, or fp16 where it has no bfloat16 units (before Ampere: V100, T4, RTX 20); on a CPU fp32.
    bf16 and fp16 are autocast with weights and losses in float32; fp16 scales its gradients, and a step whose gradients
    overflow changes no weight but counts as a step of the schedule."""
    tf32: Annotated[bool, Field(exclude_if=bool)] = True
    """Convolutions in float32 use the TF32 units of a GPU (Ampere and later; 10 bits of mantissa), as torch does unless
    told otherwise. Matrix products in float32 never do: the gate and its kin are among them."""
    accumulate: Annotated[int, Field(ge=1, le=100_000, exclude_if=(1).__eq__)] = 1
    """Micro-batches of batch_size / accumulate images whose gradients one optimizer step sums: less memory for the same
    batch. Losses are means over the whole batch, draws are made for it; batch norm sees one micro-batch at a time, as
    with smaller batches. Not with the losses ohem, dice and lovasz, which rank or sum the whole batch."""
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

    @property
    def micro_batch(self) -> int:
        """Images that pass through the network at once, at least one."""
        return max(1, self.batch_size // self.accumulate)

    @model_validator(mode="after")
    def _accumulates_what_divides(self) -> Self:
        if self.batch_size % self.accumulate:
            message = f"must divide train.batch_size ({self.batch_size}), got {self.accumulate}"
            raise RuleError(message, "train.accumulate")
        if self.accumulate > 1 and isinstance(self.loss, Ohem | Dice | Lovasz):
            message = f"'{self.loss.name}' looks at the whole batch at once, of which accumulate holds a part"
            raise RuleError(f"{message}; use 1, or the loss ce, focal or logit_adjusted", "train.accumulate")
        return self

    @model_validator(mode="after")
    def _class_weights_have_an_effect(self) -> Self:
        if self.class_weights is not None and isinstance(self.loss, Dice | Lovasz) and not self.loss.ce:
            message = f"weigh the cross-entropy, of which {self.loss.name} has none"
            raise RuleError(f"{message}; give train.loss.ce a weight above 0", "train.class_weights")
        return self
