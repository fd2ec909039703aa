"""A trial in training: its parts, their state, and the epoch of optimizer steps.

Shapes: B batch, C classes, N images, H W crop.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, optim
from torch.optim.lr_scheduler import LambdaLR

from trainable.config import TrialConfig
from trainable.data.augment import Paste, augmented_batches
from trainable.data.frames import Frames
from trainable.data.prefetch import ahead
from trainable.data.rare_class_sampling import rare_class_batches
from trainable.data.statistics import ClassStatistics
from trainable.evaluate.metrics.names import LR, SUPPRESSION_SECONDS
from trainable.evaluate.metrics.rare import rare_classes
from trainable.failure import TrialFailed
from trainable.model.segmenter import Segmenter
from trainable.ranks.gradients import sum_gradients
from trainable.ranks.group import rank, world
from trainable.suppression.loss import PathLoss, PathLosses
from trainable.suppression.sampling import ClassSampler
from trainable.suppression.schedule import drop_probability, progress, suppressed_weight
from trainable.train import seeds
from trainable.train.accumulation import WholeBatch, together
from trainable.train.clock import PartClock
from trainable.train.compute import Compute
from trainable.train.gpu_memory import is_out_of_memory, out_of_memory
from trainable.train.meter import Meter
from trainable.train.scaling import backward, update_weights
from trainable.train.step import Batch, plain_losses, suppressed_losses

CHECK_EVERY_ON_GPU = 50
"""Steps between two looks at the losses on a GPU, each of which waits for it; on a CPU every step is checked."""


@dataclass(frozen=True)
class Training:
    """A trial in training: what its steps read and change."""

    config: TrialConfig
    compute: Compute
    model: Segmenter
    optimizer: optim.Optimizer
    schedule: LambdaLR
    statistics: ClassStatistics
    """Of the training labels."""
    loss_weights: Tensor | None
    """[C], class weights of the loss."""
    loss: PathLoss
    """Of each path: cross-entropy, or what stands in its place."""
    sampler: ClassSampler | None
    """Draws the classes to suppress; None for the plain model."""
    scaler: torch.amp.GradScaler | None = None
    """Of the gradients, where the trial computes in float16."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that later epochs depend on. Random streams begin anew in each epoch: they need no state."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "sampler": self.sampler.state_dict() if self.sampler else None,
            **({"scaler": self.scaler.state_dict()} if self.scaler else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue as the training that ``state_dict`` was taken from would have."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.sampler:
            self.sampler.load_state_dict(state["sampler"])
        if self.scaler and "scaler" in state:  # else it began on another card, and the scale is found anew
            self.scaler.load_state_dict(state["scaler"])

    def go_on_from(self, plain: "Training") -> None:
        """Take over optimizer moments and learning rates of the plain training of the same weights.

        What the suppression adds begins here: its block has no moments yet, its sampler nothing learned.
        """
        self.optimizer.state.update(plain.optimizer.state)
        for group, earlier in zip(self.optimizer.param_groups, plain.optimizer.param_groups, strict=True):
            group["lr"] = earlier["lr"]
            if group.get("momentum"):  # fused SGD takes no group of which some weights have moments; from 0 is the same
                for weights in group["params"]:
                    self.optimizer.state[weights].setdefault("momentum_buffer", torch.zeros_like(weights))
        self.schedule.load_state_dict(plain.schedule.state_dict())
        if self.scaler and plain.scaler:
            self.scaler.load_state_dict(plain.scaler.state_dict())


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Complete batches in an epoch; one incomplete batch when there is no complete one."""
    return max(1, images // batch_size)


def index_batches(images: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """Image indices [B] of each step, in random order; the incomplete rest is dropped unless it is all there is."""
    order_N = torch.randperm(images, generator=generator)
    return list(torch.split(order_N, batch_size))[: steps_per_epoch(images, batch_size)]


def _batches(training: Training, frames: Frames, order: torch.Generator) -> list[Tensor]:
    """Image indices [B] of each step, as the trial samples its images."""
    sampling, batch_size = training.config.data.rare_class_sampling, training.config.train.batch_size
    counts_NC = None if sampling is None else frames.class_pixels(training.model.classifier.out_channels)
    if sampling is None or counts_NC is None or not counts_NC.any():
        return index_batches(len(frames), batch_size, order)
    return rare_class_batches(sampling, counts_NC, steps_per_epoch(len(frames), batch_size), batch_size, order)


def _seen(
    training: Training, frames: Frames, batches: list[Tensor], generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """What the steps see: the augmented batches, rare classes pasted into them."""
    data, rare = training.config.data, rare_classes(training.statistics.pixels)
    paste = Paste(rare, data.rare_copy_paste) if data.rare_copy_paste else None
    return augmented_batches(frames, batches, data.augment, generator, training.compute.device, paste)


def train_epoch(training: Training, frames: Frames, epoch: int, limit: int | None = None) -> dict[str, float]:
    """Train one epoch, counted from 1, and return its metrics; ``limit`` ends it after that many steps.

    Raises:
        TrialFailed: a loss that is not finite, batch statistics over a single value, a GPU out of memory
            (``OutOfMemory``), a model that refuses its first batch.
    """
    config, compute = training.config, training.compute
    order, augment, suppression = (
        seeds.generator(config.seed, stream, epoch) for stream in ("order", "augment", "suppression")
    )
    seeds.seed_torch(config.seed, "layers", epoch, rank())
    batches = _batches(training, frames, order)
    meter = Meter(epoch, CHECK_EVERY_ON_GPU if compute.device.type == "cuda" else 1)
    clock = PartClock(compute.device) if config.suppression else None
    training.model.train()
    lr = 0.0
    with ahead(_seen(training, frames, batches[:limit], augment), compute.device) as seen:
        for step, (images_B3HW, labels_BHW) in enumerate(seen, start=1):
            batch = Batch(compute.network_input(images_B3HW), labels_BHW.long())
            lr = float(training.schedule.get_last_lr()[0])
            u = _progress(config, epoch, step, len(batches))
            try:
                meter.add(*_step(training, batch, u, suppression, clock))
            except (ValueError, AssertionError, RuntimeError) as error:
                raise _failure(error, epoch, step, config.train.accumulate) from error
    return {**meter.metrics(), LR: lr, **({SUPPRESSION_SECONDS: clock.seconds()} if clock else {})}


def _progress(config: TrialConfig, epoch: int, step: int, steps: int) -> float:
    suppression = config.suppression
    return progress(suppression, epoch, config.train.epochs, step, steps) if suppression else 0.0


def _failure(error: Exception, epoch: int, step: int, accumulate: int) -> Exception:
    """Turn what a user can act on into ``TrialFailed``; other errors stay as they are."""
    where = f"epoch {epoch}, step {step}"
    if is_out_of_memory(error):
        return out_of_memory(error, where)
    if "more than 1 value per channel" in str(error):
        smaller = "train.accumulate smaller, " if accumulate > 1 else ""
        return TrialFailed(
            f"{where}: batch normalisation sees a single value per channel; train.batch_size must be at least "
            f"{2 * accumulate} (and the data hold that many images), {smaller}or data.size larger"
        )
    if (epoch, step) == (1, 1):  # some networks take some sizes only, and say so in the middle of their forward pass
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return TrialFailed(f"{where}: the model cannot take the batch; try another data.size or model ({reason})")
    return error


def _step(
    training: Training, batch: Batch, u: float, generator: torch.Generator, clock: PartClock | None
) -> tuple[Tensor, PathLosses]:
    """Take one optimizer step, at progress ``u``; returns the loss and its terms."""
    train = training.config.train
    training.optimizer.zero_grad(set_to_none=True)
    differentiate = _differentiate if train.accumulate == 1 else _accumulate
    loss, terms = differentiate(training, batch, u, generator, clock)
    sum_gradients(training.model.parameters())
    update_weights(training.model, training.optimizer, training.scaler, train.clip_norm)
    training.schedule.step()
    return loss, terms


def _differentiate(
    training: Training, batch: Batch, u: float, generator: torch.Generator, clock: PartClock | None
) -> tuple[Tensor, PathLosses]:
    with training.compute.autocast():
        loss, terms = _losses(training, batch, u, generator, clock)
    backward(loss, training.scaler)
    return loss, terms


def _losses(
    training: Training, batch: Batch, u: float, generator: torch.Generator, clock: PartClock | None
) -> tuple[Tensor, PathLosses]:
    suppression, sampler = training.config.suppression, training.sampler
    if suppression is None or sampler is None:
        terms = plain_losses(training.model, batch, training.loss_weights, training.loss)
        return terms.plain, terms
    drop = sampler.draw(batch.labels_BHW, drop_probability(suppression, u), generator)
    weights_C, compute = training.loss_weights, training.compute
    terms = suppressed_losses(training.model, batch, drop, suppression, compute, weights_C, clock, training.loss)
    assert terms.predicted is not None
    sampler.observe(terms.predicted, batch.labels_BHW, drop)
    return terms.total(suppressed_weight(suppression, u), suppression.alpha), terms


def _accumulate(
    training: Training, batch: Batch, u: float, generator: torch.Generator, clock: PartClock | None
) -> tuple[Tensor, PathLosses]:
    """The same in micro-batches, one after the other."""
    suppression, sampler, compute = training.config.suppression, training.sampler, training.compute
    drop = None
    if suppression is not None and sampler is not None:
        drop = sampler.draw(batch.labels_BHW, drop_probability(suppression, u), generator)
    weight, alpha = (suppressed_weight(suppression, u), suppression.alpha) if suppression else (0.0, 0.0)
    whole = WholeBatch.of(batch, drop, suppression, compute, clock)
    parts = []
    for rows in whole.micro_batches(max(1, training.config.train.micro_batch // world())):
        with compute.autocast():
            terms = whole.losses(rows, training.model, training.loss_weights, clock, training.loss)
            loss = terms.total(weight, alpha)
        backward(loss, training.scaler)
        parts.append(terms.detached())
    terms = together(parts, drop)
    if sampler is not None and terms.predicted is not None:
        sampler.observe(terms.predicted, batch.labels_BHW, drop)
    return terms.total(weight, alpha), terms
