"""The training step in every precision, in micro-batches, and with clipped gradients: time, memory, and the loss after.

DeepLabV3+ ResNet-50, 512x1024, batch 8, plain and with a class dropped at the decoder in every step. The step is
measured on one batch that lies on the device; the loss after it is that of the same batch, for comparison.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from gpu_sections.throughput import alone, write_folder
from gpu_sections.trials import SUPPRESSION, Row, device, large_trial
from trainable.config import TrialConfig
from trainable.data.frames import load_splits
from trainable.data.statistics import train_statistics
from trainable.evaluate.metrics.names import TRAIN_LOSS
from trainable.failure import TrialFailed
from trainable.train.compute import choose_compute, tf32_convolutions
from trainable.train.engine import prepare
from trainable.train.epoch import train_epoch

SETTINGS: Mapping[str, Mapping[str, object]] = {
    "fp32, no TF32": {"precision": "fp32", "tf32": False},
    "fp32, convolutions in TF32": {"precision": "fp32"},
    "bf16": {"precision": "bf16"},
    "fp16, scaled": {"precision": "fp16"},
    "auto, clipped": {"clip_norm": 1.0},
    "auto, 2 micro-batches": {"accumulate": 2},
    "auto, 4 micro-batches": {"accumulate": 4},
}
TINY = ("fp32, convolutions in TF32", "bf16", "fp16, scaled", "auto, 2 micro-batches")


def measure(tiny: bool) -> Iterator[Row]:
    """Yield a row per setting and model."""
    with tempfile.TemporaryDirectory() as name:
        folder = write_folder(Path(name), tiny)
        for model, suppression in (("plain", None), ("decoder", SUPPRESSION)):
            for setting, train in SETTINGS.items():
                if tiny and setting not in TINY:
                    continue
                config = large_trial(tiny, folder, crop=False, suppression=suppression, **train)
                yield {"model": model, "setting": setting, **_measured(config, tiny)}


def _measured(config: TrialConfig, tiny: bool) -> Row:
    try:
        compute = choose_compute(str(device()), config.train.precision)
    except TrialFailed as error:
        return {
            "step ms": None,
            "images/s": None,
            "host ms": None,
            "peak MiB": None,
            "loss": None,
            "not run": str(error),
        }
    frames = load_splits(config.data).train
    with tf32_convolutions(config.train.tf32):
        training = prepare(config, compute, len(frames), train_statistics(config.data))
        milliseconds, host, peak = alone(training, 1 if tiny else 10)
        loss = train_epoch(training, frames, 1, limit=1)[TRAIN_LOSS]
    images = config.train.batch_size * 1e3 / milliseconds
    figures: Row = {"step ms": milliseconds, "images/s": images, "host ms": host, "peak MiB": round(peak)}
    return {**figures, "loss": loss, "not run": ""}
