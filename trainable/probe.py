"""Measure what a trial costs, from a few real steps on real data, for a dry run."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from trainable.compute import Compute, choose_compute
from trainable.config import TrialConfig
from trainable.data.classes import class_names
from trainable.data.frames import Frames, HeldFrames, Splits, fits_in_memory, load_splits
from trainable.data.statistics import ClassStatistics
from trainable.engine import prepare
from trainable.evaluate import evaluation_batches, split_confusion
from trainable.train import Training, steps_per_epoch, train_epoch

T = TypeVar("T")

CPU_PIXELS = 2**20
"""Pixels of the largest batch that a CPU probes whole: two crops of 512x1024."""


@dataclass(frozen=True)
class Probe:
    """What a trial costs on the device of the probe, projected from a few steps."""

    parameters: int
    """Trainable numbers of the model."""
    steps_per_epoch: int
    """Optimizer steps in an epoch."""
    step_seconds: float
    """One training step after a first one that is not counted; with decoding where frames are not held in memory."""
    eval_seconds: float
    """One evaluation of all splits, projected from one batch."""
    setup_seconds: float
    """Data and model before the first step; decoding is projected from the probed frames where frames are held."""


def probe(config: TrialConfig, steps: int = 3, *, device: str | None = None) -> Probe:
    """Run ``steps`` training steps after one of warm-up, and one evaluation batch, without decoding whole splits.

    The pixel statistics of the training split are replaced by those of a few frames. A large batch is probed in part
    on a CPU and its time scaled; a GPU runs it whole, which also shows whether it fits.

    Raises:
        DataError, ModelError: the trial cannot start.
        TrialFailed: a step failed.
    """
    compute = choose_compute(device, config.train.precision)
    try:
        return _measure(config, steps, compute)
    finally:
        compute.release()


def _measure(config: TrialConfig, steps: int, compute: Compute) -> Probe:
    asked = config.train.batch_size
    batch_size = _probed_batch(config, compute)
    config = config.model_copy(update={"train": config.train.model_copy(update={"batch_size": batch_size})})
    splits, load_seconds = _timed(lambda: load_splits(config.data, hold=False))
    shown, decode_seconds = _as_in_a_trial(splits, splits.train.first(batch_size * steps), config)
    statistics = ClassStatistics.of(shown.first(batch_size).class_pixels(len(class_names(config.data))))
    training, build_seconds = _timed(lambda: prepare(config, compute, len(splits.train), statistics))
    train_epoch(training, shown, epoch=1, limit=1)  # warm-up: allocations, kernels
    _, train_seconds = _timed(lambda: train_epoch(training, shown, epoch=1))
    return Probe(
        parameters=sum(parameter.numel() for parameter in training.model.parameters()),
        steps_per_epoch=steps_per_epoch(len(splits.train), asked),
        step_seconds=train_seconds / steps_per_epoch(len(shown), batch_size) * asked / batch_size,
        eval_seconds=_eval_seconds(training, splits),
        setup_seconds=load_seconds + build_seconds + decode_seconds * (len(splits.train) + len(splits.val)),
    )


def _probed_batch(config: TrialConfig, compute: Compute) -> int:
    height, width = config.data.augment.crop or config.data.size
    if compute.device.type != "cpu":
        return config.train.batch_size
    return min(config.train.batch_size, max(2, CPU_PIXELS // (height * width)))


def _as_in_a_trial(splits: Splits, frames: Frames, config: TrialConfig) -> tuple[Frames, float]:
    """Frames as a trial would have them, in memory where it holds them; and the seconds to decode one in setup."""
    if isinstance(frames, HeldFrames) or not fits_in_memory(splits, config.data.size):
        return frames, 0.0
    held, seconds = _timed(frames.hold)
    return held, seconds / len(held)


def _eval_seconds(training: Training, splits: Splits) -> float:
    """Time of the first evaluation batch times the number of batches."""
    batches = evaluation_batches(training.config, len(splits.val))
    shown, _ = _as_in_a_trial(splits, splits.val.first(len(batches[0])), training.config)
    _, seconds = _timed(lambda: split_confusion(training.model, training.compute, shown, batches[:1]))
    return seconds * len(batches) * (1 if splits.swapped is None else 2)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start
