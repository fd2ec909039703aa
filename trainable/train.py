"""The training epoch: batches, the step with or without suppression, and what it reports.

Shapes: B batch, C classes, K channels of the decoder's map, H W crop, h w the decoder's map.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, optim
from torch.optim.lr_scheduler import LambdaLR

from trainable import seeds
from trainable.compute import Compute
from trainable.config import TrialConfig
from trainable.data.augment import augmented_batches
from trainable.data.frames import Frames
from trainable.data.statistics import ClassStatistics
from trainable.failure import TrialFailed
from trainable.metrics.names import LR, TRAIN_CE, TRAIN_DROPPED, TRAIN_LOSS, TRAIN_SUPPRESSION
from trainable.model.segmenter import Segmenter
from trainable.suppression.config import SuppressionConfig
from trainable.suppression.loss import PathLosses, cross_entropy, mean_probability, without_class
from trainable.suppression.sampling import class_weights, draw_class
from trainable.suppression.schedule import drop_probability, progress, suppressed_weight

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
    """[C], class weights of the cross-entropy."""


@dataclass
class Meter:
    """Losses of an epoch's steps, kept on the device until they are looked at."""

    epoch: int
    check_every: int
    losses: list[Tensor] = field(default_factory=list)
    plain: list[Tensor] = field(default_factory=list)
    probabilities: list[Tensor] = field(default_factory=list)
    checked: int = 0

    def add(self, loss: Tensor, plain: Tensor, probability: Tensor | None) -> None:
        """Note a step; raises ``TrialFailed`` when it looks at the losses and one is not finite."""
        self.losses.append(loss.detach())
        self.plain.append(plain.detach())
        if probability is not None:
            self.probabilities.append(probability.detach())
        if len(self.losses) - self.checked >= self.check_every:
            self.check()

    def check(self) -> None:
        """Raise ``TrialFailed`` at the first loss since the last look that is not finite."""
        fresh = self.losses[self.checked :]
        if fresh:
            values = torch.stack(fresh)
            bad = (~torch.isfinite(values)).nonzero()
            if len(bad):
                step = int(bad[0])
                raise TrialFailed(f"epoch {self.epoch}, step {self.checked + step + 1}: the loss is {values[step]:g}")
        self.checked = len(self.losses)

    def metrics(self) -> dict[str, float]:
        """Means over the epoch."""
        self.check()
        return {
            TRAIN_LOSS: _mean(self.losses),
            TRAIN_CE: _mean(self.plain),
            TRAIN_SUPPRESSION: _mean(self.probabilities),
            TRAIN_DROPPED: len(self.probabilities) / len(self.losses),
        }


def _mean(values: list[Tensor]) -> float:
    return float(torch.stack(values).double().mean()) if values else 0.0


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Complete batches in an epoch; one incomplete batch when there is no complete one."""
    return max(1, images // batch_size)


def index_batches(images: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """Image indices [B] of each step, in random order; the incomplete rest is dropped unless it is all there is."""
    order_N = torch.randperm(images, generator=generator)
    return list(torch.split(order_N, batch_size))[: steps_per_epoch(images, batch_size)]


def train_epoch(training: Training, frames: Frames, epoch: int, limit: int | None = None) -> dict[str, float]:
    """Train one epoch, counted from 1, and return its metrics; ``limit`` ends it after that many steps.

    Raises:
        TrialFailed: a loss that is not finite, batch statistics over a single value, a GPU out of memory, a model that
            refuses its first batch.
    """
    config, compute = training.config, training.compute
    order, augment, suppression = (
        seeds.generator(config.seed, stream, epoch) for stream in ("order", "augment", "suppression")
    )
    seeds.seed_torch(config.seed, "layers", epoch)
    batches = index_batches(len(frames), config.train.batch_size, order)[:limit]
    meter = Meter(epoch, CHECK_EVERY_ON_GPU if compute.device.type == "cuda" else 1)
    training.model.train()
    lr = 0.0
    seen = augmented_batches(frames, batches, config.data.augment, augment, compute.device)
    for step, (images_B3HW, labels_BHW) in enumerate(seen, start=1):
        lr = float(training.schedule.get_last_lr()[0])
        try:
            meter.add(*_step(training, compute.network_input(images_B3HW), labels_BHW.long(), epoch, suppression))
        except (ValueError, AssertionError, RuntimeError) as error:
            raise _failure(error, epoch, step) from error
    return {**meter.metrics(), LR: lr}


def _failure(error: Exception, epoch: int, step: int) -> Exception:
    """Turn what a user can act on into ``TrialFailed``; other errors stay as they are."""
    where = f"epoch {epoch}, step {step}"
    if isinstance(error, torch.OutOfMemoryError):
        return TrialFailed(f"{where}: the GPU is out of memory; lower train.batch_size or data.size")
    if "more than 1 value per channel" in str(error):
        return TrialFailed(
            f"{where}: batch normalisation sees a single value per channel; "
            "train.batch_size must be at least 2 (and the data hold that many images), or data.size larger"
        )
    if (epoch, step) == (1, 1):  # some networks take some sizes only, and say so in the middle of their forward pass
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return TrialFailed(f"{where}: the model cannot take the batch; try another data.size or model ({reason})")
    return error


def _step(
    training: Training, images_B3HW: Tensor, labels_BHW: Tensor, epoch: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor | None]:
    """One optimizer step; returns loss, cross-entropy of the plain path, probability of the dropped class."""
    suppression = training.config.suppression
    with training.compute.autocast():
        if suppression is None:
            loss = plain = cross_entropy(training.model(images_B3HW), labels_BHW, training.loss_weights)
            probability = None
        else:
            u = progress(epoch, training.config.train.epochs)
            dropped = _draw(training, suppression, labels_BHW, u, generator)
            terms = two_path_losses(training.model, images_B3HW, labels_BHW, dropped, training.loss_weights)
            loss = terms.total(suppressed_weight(suppression, u), suppression.alpha)
            plain, probability = terms.plain, terms.probability
    training.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    training.optimizer.step()
    training.schedule.step()
    return loss, plain, probability


def _draw(
    training: Training, suppression: SuppressionConfig, labels_BHW: Tensor, u: float, generator: torch.Generator
) -> int | None:
    classes = len(training.statistics.pixels)
    present_C = torch.ones(classes, dtype=torch.bool)
    if suppression.sampling.name == "present":  # the copy to the CPU waits for the GPU: only where it is needed
        present_C = (torch.bincount(labels_BHW.flatten(), minlength=256)[:classes] > 0).cpu()
    weights_C = class_weights(suppression.sampling, training.statistics.pixels, present_C)
    return draw_class(weights_C, drop_probability(suppression, u), generator)


def two_path_losses(
    model: Segmenter, images_B3HW: Tensor, labels_BHW: Tensor, dropped: int | None, weights_C: Tensor | None
) -> PathLosses:
    """Losses of the plain and the suppressed path of one batch; ``dropped`` is z, None drops no class."""
    maps_BKhw = model.features(images_B3HW)
    logits_BChw = model.classify(maps_BKhw)
    keep_C = None
    if dropped is not None:
        keep_C = torch.ones(logits_BChw.shape[1], device=images_B3HW.device, dtype=model.classifier.weight.dtype)
        keep_C[dropped] = 0
    suppressed_BChw = model.classify(model.suppressed(maps_BKhw, keep_C))
    return PathLosses(
        plain=cross_entropy(model.upsample(logits_BChw), labels_BHW, weights_C),
        suppressed=cross_entropy(model.upsample(suppressed_BChw), without_class(labels_BHW, dropped), weights_C),
        probability=None if dropped is None else mean_probability(suppressed_BChw, dropped),
    )
