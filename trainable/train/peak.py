"""Measure how much GPU memory a trial takes at most, in two suppressing steps and an evaluation batch."""

import torch

from trainable.config import TrialConfig
from trainable.data.classes import class_names
from trainable.data.frames import few_frames
from trainable.data.statistics import ClassStatistics
from trainable.evaluate.evaluate import evaluate, evaluation_batch_size
from trainable.evaluate.metrics.rare import rare_classes
from trainable.failure import OutOfMemory, TrialFailed
from trainable.suppression.config import Constant, ConstantWeight
from trainable.train import gpu_memory
from trainable.train.compute import Compute, choose_compute
from trainable.train.engine import prepare
from trainable.train.epoch import train_epoch

STEPS = 2
"""The second one has the optimizer's moments."""


def measure_peak(config: TrialConfig, *, threads: int, device: str | None = None) -> tuple[int, int]:
    """Run two training steps that suppress and one evaluation batch; nothing is kept.

    Returns:
        The most that the trial's tensors held, and what the GPU has, in bytes.

    Raises:
        DataError, ModelError: the trial cannot start.
        TrialFailed: a step failed, out of memory too; or there is no GPU.
    """
    torch.set_num_threads(threads)
    compute = choose_compute(device, config.train.precision)
    try:
        _run(_without_weights(suppressing(config)), compute)
        peak, total = gpu_memory.peak_bytes(), gpu_memory.total_bytes()
    except RuntimeError as error:
        if not gpu_memory.is_out_of_memory(error):
            raise
        use = gpu_memory.memory_use(error)
        raise OutOfMemory("probe", use, gpu_memory.ADVICE) from error
    finally:
        compute.release()
    if peak is None or total is None:
        raise TrialFailed("resources.gpu: auto measures memory on a GPU, and its worker sees none")
    return peak, total


def suppressing(config: TrialConfig) -> TrialConfig:
    """The trial with a class dropped in every step from the first on: what takes most memory."""
    if config.suppression is None:
        return config
    whole = {"start": 0.0, "p_max": 1.0, "schedule": Constant(name="constant")}
    ramp = {"loss_ramp": ConstantWeight(name="constant")}
    return config.model_copy(update={"suppression": config.suppression.model_copy(update=whole | ramp)})


def _without_weights(config: TrialConfig) -> TrialConfig:
    """The trial with random weights, which take as much memory and lie nowhere."""
    return config.model_copy(
        update={"model": config.model.model_copy(update={"encoder_weights": None, "weights": None})}
    )


def _run(config: TrialConfig, compute: Compute) -> None:
    batch, eval_size = config.train.batch_size, evaluation_batch_size(config)
    splits, train_images, _ = few_frames(config.data, batch * STEPS, eval_size)
    statistics = ClassStatistics.of(splits.train.class_pixels(len(class_names(config.data))))
    training = prepare(config, compute, train_images, statistics)
    train_epoch(training, splits.train, epoch=1, limit=STEPS)
    evaluate(config, training.model, training.compute, splits, rare_classes(statistics.pixels))
