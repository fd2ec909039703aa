"""Measure what a trial costs, from a few real steps on real data, for a dry run."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from trainable.config import TrialConfig
from trainable.data.classes import class_names
from trainable.data.frames import Frames, Splits, few_frames
from trainable.data.statistics import ClassStatistics
from trainable.evaluate.corruptions import KINDS
from trainable.evaluate.evaluate import evaluation_batch_size, split_confusion
from trainable.train.compute import Compute, choose_compute, tf32_convolutions
from trainable.train.engine import prepare
from trainable.train.epoch import Training, steps_per_epoch, train_epoch
from trainable.train.gpu_memory import peak_bytes, reset_peak, total_bytes

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
    """One training step after a first one that is not counted."""
    eval_seconds: float
    """One evaluation of all splits, projected from one batch."""
    setup_seconds: float
    """Data that are made in memory, and the model, before the first step."""
    cache_seconds: float
    """Decoding all frames, once per node, projected from the probed ones; 0 where nothing is decoded."""
    changed_seconds: float = 0.0
    """All measurements on changed frames of a whole trial (``evaluation.context``, ``corruptions``)."""
    peak_bytes: int | None = None
    """The most that its tensors held on the GPU; None on a CPU."""
    gpu_bytes: int | None = None
    """What the GPU has."""


def probe(config: TrialConfig, steps: int = 3, *, device: str | None = None) -> Probe:
    """Run ``steps`` training steps after one of warm-up, and one evaluation batch, without building the cache.

    The pixel statistics of the training split are replaced by those of a few frames. A large batch is probed in part
    on a CPU and its time scaled; a GPU runs it whole, which also shows whether it fits.

    Raises:
        DataError, ModelError: the trial cannot start.
        TrialFailed: a step failed.
    """
    compute = choose_compute(device, config.train.precision)
    reset_peak()
    try:
        with tf32_convolutions(config.train.tf32):
            return _measure(config, steps, compute)
    finally:
        compute.release()


def _measure(config: TrialConfig, steps: int, compute: Compute) -> Probe:
    asked = config.train.batch_size
    batch_size = _probed_batch(config, compute)
    config = config.model_copy(update={"train": config.train.model_copy(update={"batch_size": batch_size})})
    eval_size = evaluation_batch_size(config)
    (splits, train_images, val_images), load_seconds = _timed(
        lambda: few_frames(config.data, batch_size * steps, eval_size)
    )
    first_frames = splits.train.first(batch_size * steps)
    statistics = ClassStatistics.of(first_frames.first(batch_size).class_pixels(len(class_names(config.data))))
    training, build_seconds = _timed(lambda: prepare(config, compute, train_images, statistics))
    train_epoch(training, first_frames, epoch=1, limit=1)  # warm-up: allocations, kernels
    _, train_seconds = _timed(lambda: train_epoch(training, first_frames, epoch=1))
    made = config.data.name == "shapes"
    evaluated = splits.evaluated()
    per_frame = load_seconds / (len(splits.train) + sum(map(len, evaluated)))
    all_evaluated = len(evaluated) * val_images
    all_frames = per_frame * (train_images + all_evaluated)
    eval_seconds = _eval_seconds(training, splits, math.ceil(val_images / eval_size))
    return Probe(
        parameters=sum(parameter.numel() for parameter in training.model.parameters()),
        steps_per_epoch=steps_per_epoch(train_images, asked),
        step_seconds=train_seconds / steps_per_epoch(len(first_frames), batch_size) * asked / batch_size,
        eval_seconds=eval_seconds,
        changed_seconds=changed_predictions(config, splits.val, val_images) * eval_seconds / all_evaluated,
        setup_seconds=build_seconds + (all_frames if made else 0),
        cache_seconds=0 if made else all_frames / len(os.sched_getaffinity(0)),
        peak_bytes=peak_bytes(),
        gpu_bytes=total_bytes(),
    )


def _probed_batch(config: TrialConfig, compute: Compute) -> int:
    height, width = config.data.augment.crop or config.data.size
    if compute.device.type != "cpu":
        return config.train.batch_size
    return min(config.train.batch_size, max(2, CPU_PIXELS // (height * width)))


def _eval_seconds(training: Training, splits: Splits, batches: int) -> float:
    """Time of the first evaluation batch times the number of batches of all splits."""
    frames, config = splits.val.first(evaluation_batch_size(training.config)), training.config
    whole = [torch.arange(len(frames))]
    _, seconds = _timed(lambda: split_confusion(training.model, training.compute, frames, whole, config.evaluation))
    return seconds * batches * len(splits.evaluated())


def changed_predictions(config: TrialConfig, first: Frames, images: int) -> float:
    """Predictions of changed frames in a trial whose evaluation split has so many, of which ``first`` are known."""
    context, corruptions, epochs = config.evaluation.context, config.evaluation.corruptions, config.train.epochs
    names = class_names(config.data)
    predictions = 0.0
    if context:
        of_names = [c for c, name in enumerate(names) if context.classes == "all" or name in context.classes]
        erased = (first.class_pixels(len(names))[:, of_names] > 0).sum() / len(first)
        predictions += context.times(epochs) * context.count(images) * (1 + float(erased))
    if corruptions:
        predictions += corruptions.times(epochs) * corruptions.count(images) * len(KINDS)
    return predictions


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start
