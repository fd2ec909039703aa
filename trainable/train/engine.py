"""Run one trial: ``fit`` yields the metrics of each epoch.

Nothing here reports, stores or stops: the caller iterates, and closes the generator when it has enough. A CPU trial
repeats bit for bit with the same number of threads, whatever ran in the process before it.
"""

import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from trainable.config import TrialConfig
from trainable.data.classes import class_names
from trainable.data.frames import Frames, Splits, load_splits
from trainable.data.layout import labelled_test_split
from trainable.data.statistics import ClassStatistics, train_statistics
from trainable.evaluate.changed_frames import evaluate_changed
from trainable.evaluate.evaluate import evaluate, evaluate_test
from trainable.evaluate.gradcam_picture import gradcam_picture
from trainable.evaluate.metrics.names import (
    EPOCH_SECONDS,
    RECALIBRATION_SECONDS,
    SETUP_SECONDS,
    TRAIN_SECONDS,
    VAL_SECONDS,
)
from trainable.evaluate.metrics.rare import rare_classes
from trainable.evaluate.metrics.weight_cosine import weight_cosines
from trainable.evaluate.trial_pictures import validation_strip
from trainable.failure import OutOfMemory, TrialFailed
from trainable.loss.build import build_loss
from trainable.loss.own_loss import check_reweight
from trainable.model.build import build_model
from trainable.model.input_statistics import input_statistics
from trainable.model.norm_over_ranks import over_ranks
from trainable.model.recompute import recompute_blocks
from trainable.model.segmenter import Segmenter
from trainable.optim.build import build_optimizer, build_schedule, class_weights, parameter_groups
from trainable.ranks.division import Shares
from trainable.ranks.group import world
from trainable.suppression.sampling import ClassSampler
from trainable.train import seeds
from trainable.train.compute import Compute, choose_compute, tf32_convolutions
from trainable.train.epoch import Training, steps_per_epoch, train_epoch
from trainable.train.gpu_memory import is_out_of_memory, memory_use
from trainable.train.recalibration import recalibrate
from trainable.train.scaling import build_scaler


@dataclass(frozen=True)
class EpochResult:
    """What one epoch measured."""

    epoch: int
    """Counted from 1."""
    metrics: dict[str, float]
    """Values by name, all names from ``trainable.evaluate.metrics.names``; an undefined metric has no entry."""
    training: Training
    """The trial in training, until the next epoch begins: its weights and its state. In epochs before
    ``suppression.start`` it is the plain trial's, from whose state ``fit`` continues as well."""
    val: Frames
    """Frames of the evaluation split."""
    rare: tuple[int, ...]
    """Rare classes of the training data."""
    confusion: Tensor
    """Pixels of the evaluation split of class i predicted as class j, int64 [C,C] on the CPU."""
    reliance: Tensor | None = None
    """IoU that class c loses where class z is erased, float64 [C,C] on the CPU, NaN where they never meet; None where
    this epoch did not measure it (``evaluation.context``)."""
    calibration: Tensor | None = None
    """Pixels, right ones and the sum of confidences of the evaluation split, by bin; float64 [M,3] on the CPU."""

    def state(self) -> dict[str, Any]:
        """What ``fit`` needs to continue after this epoch; its tensors are those in training: copy or save them.

        Holds tensors, numbers, strings and containers of them alone: ``torch.load`` reads it with ``weights_only``.
        """
        return {"epoch": self.epoch, **self.training.state_dict()}

    def pictures(self) -> dict[str, bytes]:
        """PNG files by name: ``validation``, some fixed frames of the evaluation split with truth and prediction.

        Drawn when asked, before the next epoch begins; later epochs are the same whether it was asked or not.

        Raises:
            DataError: the classes of the data set can no longer be read.
        """
        training = self.training
        strip = validation_strip(training.config, training.model, training.compute, self.val, self.rare)
        return {"validation": strip}

    def gradcam(self) -> bytes | None:
        """PNG file: Grad-CAM maps of some rare classes on the same frames; None where they show no rare class.

        Drawn when asked, as ``pictures``; raises what they raise.
        """
        training = self.training
        return gradcam_picture(training.config, training.model, training.compute, self.val, self.rare)

    def weight_cosines(self) -> Tensor:
        """Cosine of the classifier's weights of every two classes, float64 [C,C] on the CPU."""
        return weight_cosines(self.training.model.classifier)


def fit(
    config: TrialConfig,
    *,
    device: str | None = None,
    threads: int | None = None,
    resume_from: Mapping[str, Any] | None = None,
) -> Iterator[EpochResult]:
    """Train and evaluate, one result per epoch; the work begins with the first ``next``.

    Where torch.distributed's default group is initialised the process is one rank of the trial: all ranks call this
    with equal arguments but for the device, and take the results together, one by one. They train and measure what one
    process would (docs/gpus.md); the results of rank 0 are the trial's, and its checkpoints are those of one process.

    Args:
        config: the trial.
        device: ``cpu``, ``cuda`` or another torch device; None takes a GPU if there is one.
        threads: torch's threads on the CPU; None leaves them as they are.
        resume_from: state of an earlier epoch of the same trial; the next one comes first, on a CPU bit for bit.

    When the generator ends or is closed, the trial's GPU memory is free again.

    Raises:
        DataError, ModelError: the trial cannot start.
        SharesError: its ranks cannot share its batches.
        TrialFailed: it cannot go on; of a GPU without memory an ``OutOfMemory``.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    compute = choose_compute(device, config.train.precision)
    try:
        with tf32_convolutions(config.train.tf32):
            yield from _epochs(config, compute, resume_from)
    except TrialFailed as error:
        _forget_frames(error)
        raise
    except RuntimeError as error:
        if not is_out_of_memory(error):  # a training step says it itself, with its number
            raise
        use = memory_use(error)
        _forget_frames(error)
        advice = "lower data.size, or set evaluation.window"
        raise OutOfMemory("before the first step or in an evaluation", use, advice) from error
    finally:
        compute.release()


def _forget_frames(error: BaseException) -> None:
    """Drop the variables of an error's frames: whoever keeps the error would keep the trial's memory with it."""
    traceback.clear_frames(error.__traceback__)
    if error.__cause__ is not None:
        _forget_frames(error.__cause__)


def _epochs(config: TrialConfig, compute: Compute, resume_from: Mapping[str, Any] | None) -> Iterator[EpochResult]:
    begun = time.perf_counter()
    splits = load_splits(config.data)
    statistics = train_statistics(config.data)
    problem = Shares(world()).problem(config.train.batch_size, config.train.accumulate, len(splits.train))
    if problem is not None:
        raise problem
    training = prepare(config, compute, len(splits.train), statistics)
    done = 0 if resume_from is None else int(resume_from["epoch"])
    suppressing: Training | None = None
    if config.suppression and 0 < config.plain_epochs >= done:
        suppressing, training = training, _plain(training, len(splits.train))
    if resume_from is not None:
        training.load_state_dict(dict(resume_from))
    rare = rare_classes(statistics.pixels)
    test = _test_frames(config)  # now: data that are not there should not be missed after the last epoch
    timing = {SETUP_SECONDS: time.perf_counter() - begun}
    for epoch in range(done + 1, config.train.epochs + 1):
        if suppressing is not None and epoch > config.plain_epochs:
            suppressing.go_on_from(training)
            training, suppressing = suppressing, None
        yield _epoch(training, splits, test, rare, epoch, timing)
        timing = {}


def _epoch(
    training: Training, splits: Splits, test: Frames | None, rare: tuple[int, ...], epoch: int, timing: dict[str, float]
) -> EpochResult:
    """Train and evaluate one epoch; ``timing`` is what came before it."""
    config, model, compute = training.config, training.model, training.compute  # with the input the encoder wants
    start = time.perf_counter()
    trained = train_epoch(training, splits.train, epoch)
    between = time.perf_counter()
    if config.suppression and config.suppression.recalibrate and model.layers:
        recalibrate(training, splits.train)
        timing = {**timing, RECALIBRATION_SECONDS: time.perf_counter() - between}
    calibrated = time.perf_counter()
    evaluated, confusion_CC, bins_M3 = evaluate(config, model, compute, splits, rare)
    if test is not None and epoch == config.train.epochs:
        evaluated |= evaluate_test(config, model, compute, test, rare)
    changed = evaluate_changed(config, model, compute, splits.val, rare, epoch)
    end = time.perf_counter()
    timing = {**timing, EPOCH_SECONDS: end - start, TRAIN_SECONDS: between - start, VAL_SECONDS: end - calibrated}
    metrics = {**evaluated, **changed.metrics, **trained, **timing}
    return EpochResult(epoch, metrics, training, splits.val, rare, confusion_CC, changed.reliance, bins_M3)


def _test_frames(config: TrialConfig) -> Frames | None:
    """Frames of the test split where the trial is to be scored on them."""
    section = labelled_test_split(config.data) if config.evaluation.test_at_end else None
    return None if section is None else load_splits(section).val


def prepare(config: TrialConfig, compute: Compute, images: int, statistics: ClassStatistics) -> Training:
    """Model, optimizer and schedule, from the trial's own seed."""
    seeds.seed_torch(config.seed, "weights")
    model = build_model(config.model, len(class_names(config.data)), config.suppression)
    compute = replace(compute, normalization=input_statistics(config.model))
    model = model.to(compute.device).to(memory_format=torch.channels_last)
    over_ranks(model, config.train.compile)
    if config.train.compile:
        model.compile_parts()
    if config.train.memory == "recompute":
        recompute_blocks(model)
    return _training_of(model, config, compute, images, statistics)


def _plain(training: Training, images: int) -> Training:
    """The plain trial of the same weights, before its first step."""
    model, config = training.model.without_blocks(), training.config.plain()
    return _training_of(model, config, training.compute, images, training.statistics)


def _training_of(
    model: Segmenter, config: TrialConfig, compute: Compute, images: int, statistics: ClassStatistics
) -> Training:
    optimizer = build_optimizer(config.train, parameter_groups(config.train, model))
    weights = class_weights(config.train.class_weights, statistics)
    loss_weights_C = None if weights is None else torch.tensor(weights, device=compute.device)
    schedule = build_schedule(config.train, optimizer, steps_per_epoch(images, config.train.batch_size))
    names = class_names(config.data)
    sampler = ClassSampler(config.suppression, statistics, compute.device, names) if config.suppression else None
    loss = build_loss(config.train.loss, statistics, compute.device, names)
    if config.suppression:
        check_reweight(loss, config.train.loss.name, config.suppression.reweight)
    scaler = build_scaler(compute, optimizer)
    return Training(config, compute, model, optimizer, schedule, statistics, loss_weights_C, loss, sampler, scaler)
