"""Run one trial: ``fit`` yields the metrics of each epoch.

Nothing here reports, stores or stops: the caller iterates, and closes the generator when it has enough. A CPU trial
repeats bit for bit with the same number of threads, whatever ran in the process before it.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from trainable import seeds
from trainable.compute import Compute, choose_compute
from trainable.config import TrialConfig
from trainable.data.classes import class_names
from trainable.data.frames import load_splits
from trainable.data.layout import DataError
from trainable.data.statistics import ClassStatistics, train_statistics
from trainable.evaluate import evaluate
from trainable.failure import TrialFailed
from trainable.metrics.confusion import rare_classes
from trainable.metrics.names import EPOCH_SECONDS, SETUP_SECONDS, TRAIN_SECONDS, VAL_SECONDS
from trainable.model.build import ModelError, build_model
from trainable.optim.build import build_optimizer, build_schedule
from trainable.train import Training, steps_per_epoch, train_epoch

__all__ = ["DataError", "EpochResult", "ModelError", "TrialFailed", "fit", "prepare"]


@dataclass(frozen=True)
class EpochResult:
    """What one epoch measured."""

    epoch: int
    """Counted from 1."""
    metrics: dict[str, float]
    """Values by name, all names from ``trainable.metrics.names``; an undefined metric has no entry."""


def fit(config: TrialConfig, *, device: str | None = None, threads: int | None = None) -> Iterator[EpochResult]:
    """Train and evaluate, one result per epoch; the work begins with the first ``next``.

    Args:
        config: the trial.
        device: ``cpu``, ``cuda`` or another torch device; None takes a GPU if there is one.
        threads: torch's threads on the CPU; None leaves them as they are.

    When the generator ends or is closed, the trial's GPU memory is free again.

    Raises:
        DataError, ModelError: the trial cannot start.
        TrialFailed: it cannot go on.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    compute = choose_compute(device, config.train.precision)
    try:
        yield from _epochs(config, compute)
    finally:
        compute.release()


def _epochs(config: TrialConfig, compute: Compute) -> Iterator[EpochResult]:
    begun = time.perf_counter()
    splits = load_splits(config.data)
    statistics = train_statistics(config.data)
    training = prepare(config, compute, len(splits.train), statistics)
    rare = rare_classes(statistics.pixels)
    timing = {SETUP_SECONDS: time.perf_counter() - begun}
    for epoch in range(1, config.train.epochs + 1):
        start = time.perf_counter()
        trained = train_epoch(training, splits.train, epoch)
        between = time.perf_counter()
        evaluated = evaluate(config, training.model, compute, splits, rare)
        end = time.perf_counter()
        timing |= {EPOCH_SECONDS: end - start, TRAIN_SECONDS: between - start, VAL_SECONDS: end - between}
        yield EpochResult(epoch, {**evaluated, **trained, **timing})
        timing = {}


def prepare(config: TrialConfig, compute: Compute, images: int, statistics: ClassStatistics) -> Training:
    """Model, optimizer and schedule, from the trial's own seed."""
    seeds.seed_torch(config.seed, "weights")
    model = build_model(config.model, len(class_names(config.data)), config.suppression)
    model = model.to(compute.device).to(memory_format=torch.channels_last)
    optimizer = build_optimizer(config.train, model.parameters())
    steps = config.train.epochs * steps_per_epoch(images, config.train.batch_size)
    weights = config.train.class_weights
    loss_weights_C = None if weights is None else torch.tensor(weights, device=compute.device)
    schedule = build_schedule(config.train, optimizer, steps)
    return Training(config, compute, model, optimizer, schedule, statistics, loss_weights_C)
