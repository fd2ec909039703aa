"""The trainer's images per second against what its steps alone allow: the rest is waiting for data.

"trainer" is an epoch of ``engine.fit`` (frames, augmentation, copies, steps), whose batches a thread prepares ahead;
"step alone" repeats the step of the same training on one batch that lies on the device. Whole frames are read at
512x1024; crops of 512x1024 are cut from frames of 1024x2048 at random places and scales.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from gpu_sections.trials import SUPPRESSION, Row, device, large_trial, small_trial, step_times
from trainable.config import TrialConfig
from trainable.data import augment
from trainable.data.frames import load_splits
from trainable.data.statistics import train_statistics
from trainable.evaluate.diagnostics import diagnose
from trainable.evaluate.evaluate import evaluation_batch_size
from trainable.evaluate.metrics.calibration import Calibration
from trainable.evaluate.metrics.confusion import confusion_matrix
from trainable.evaluate.metrics.names import SUPPRESSION_SECONDS, TRAIN_SECONDS, VAL_SECONDS
from trainable.evaluate.predict import frame_logits
from trainable.train import epoch, seeds
from trainable.train.checkpoint import to_bytes
from trainable.train.compute import choose_compute
from trainable.train.engine import fit, prepare
from trainable.train.epoch import Training, _step, steps_per_epoch
from trainable.train.step import Batch

CLASSES = 19


def measure(tiny: bool) -> Iterator[Row]:
    """Yield a row per data set and model, then without the thread, and the parts of an evaluation."""
    with tempfile.TemporaryDirectory() as name:
        folder = write_folder(Path(name), tiny)
        for model, suppression in (("plain", None), ("decoder", SUPPRESSION)):
            yield _row("shapes 64x64", model, small_trial(tiny, epochs=3, suppression=suppression))
            yield _row("whole frames", model, large_trial(tiny, folder, crop=False, suppression=suppression))
            crops = large_trial(tiny, folder, crop=True, suppression=suppression)
            yield _row("crops", model, crops)
        with patch.object(epoch, "ahead", lambda batches, _: nullcontext(batches)):
            yield _row("crops", "decoder, no thread ahead", crops)
            yield _row("shapes 64x64", "decoder, no thread ahead", small_trial(tiny, epochs=3))
            with patch.object(augment, "to_device", lambda parts, to: [part.to(to) for part in parts]):
                yield _row("crops", "decoder, no thread, copies that wait", crops)
        yield from _evaluation(crops)


def write_folder(folder: Path, tiny: bool) -> Path:
    """Write frames of random blotches, images in JPEG and labels in PNG."""
    size, train, val = ((128, 256), 4, 2) if tiny else ((1024, 2048), 96, 8)
    names = "".join(f"  - {{name: c{index}, id: {index}}}\n" for index in range(CLASSES))
    (folder / "classes.yaml").write_text(f"classes:\n{names}")
    frames = [("train", index) for index in range(train)] + [("val", index) for index in range(val)]
    for kind in ("images", "masks"):
        for split in ("train", "val"):
            (folder / kind / split).mkdir(parents=True)

    def write(frame: tuple[str, int]) -> None:
        split, index = frame
        rng, shape = np.random.default_rng((split == "val", index)), (size[1], size[0])
        colours = Image.fromarray(rng.integers(256, size=(size[0] // 16, size[1] // 16, 3)).astype(np.uint8))
        colours.resize(shape, Image.Resampling.BICUBIC).save(folder / "images" / split / f"{index}.jpg", quality=90)
        classes = Image.fromarray(rng.integers(CLASSES, size=(size[0] // 64, size[1] // 64)).astype(np.uint8))
        classes.resize(shape, Image.Resampling.NEAREST).save(folder / "masks" / split / f"{index}.png")

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, frames))
    return folder


def _row(data: str, model: str, config: TrialConfig) -> Row:
    *later, last = list(fit(config))[1:]  # the first epoch warms up
    steps = steps_per_epoch(len(load_splits(config.data).train), config.train.batch_size)
    images = steps * config.train.batch_size
    seconds = statistics.median(result.metrics[TRAIN_SECONDS] for result in (*later, last))
    milliseconds, host, peak = alone(last.training, min(steps, 10))
    alone_rate = config.train.batch_size * 1e3 / milliseconds
    suppressed = last.metrics.get(SUPPRESSION_SECONDS)
    begun = time.perf_counter()
    to_bytes(last.state())
    checkpoint = time.perf_counter() - begun
    return {
        "data": data,
        "model": model,
        "trainer, images/s": images / seconds,
        "step alone, images/s": alone_rate,
        "lost": 1 - images / seconds / alone_rate,
        "step ms": milliseconds,
        "host ms": host,
        "peak MiB": round(peak),
        "suppression's share": None if suppressed is None else suppressed / last.metrics[TRAIN_SECONDS],
        "evaluation, s": last.metrics[VAL_SECONDS],
        "checkpoint, s": checkpoint,
    }


def alone(training: Training, steps: int) -> tuple[float, float, float]:
    """Times of the trainer's step on one batch, as `step_times` gives them."""
    config = training.config
    frames = load_splits(config.data).train
    chosen = [torch.arange(min(config.train.batch_size, len(frames)))]
    generator = seeds.generator(config.seed, "augment", 1)
    ((images, labels),) = augment.augmented_batches(frames, chosen, config.data.augment, generator, device())
    batch = Batch(training.compute.network_input(images), labels.long())
    training.model.train()

    def step() -> None:
        _step(training, batch, 0.5, generator, None)

    step_times(step, 2)
    return step_times(step, steps)


def _evaluation(config: TrialConfig) -> Iterator[Row]:
    """What the parts of an evaluation take, for one batch; the diagnostics are made once per evaluation."""
    splits, statistics = load_splits(config.data), train_statistics(config.data)
    training = prepare(config, choose_compute(str(device()), "auto"), len(splits.train), statistics)
    model, compute, count = training.model.eval(), training.compute, evaluation_batch_size(config)
    images, labels = (part.to(device()) for part in next(iter(splits.val.batches([torch.arange(count)]))))
    calibration = Calibration(device())
    with torch.inference_mode():

        def predicted() -> torch.Tensor:
            with compute.autocast():
                return frame_logits(model, compute.network_input(images), config.evaluation)

        logits = predicted()
        classes = logits.argmax(dim=1)
        parts = {
            "prediction": predicted,
            "calibration": lambda: calibration.add(logits, labels),
            "confusion matrix": lambda: confusion_matrix(labels, classes, CLASSES),
            "diagnostics": lambda: diagnose(model, compute, splits.val, count),
        }
        for name, part in parts.items():
            step_times(part, 1)
            milliseconds, host, peak = step_times(part, 3)
            shape = f"{count} x {config.data.size[0]}x{config.data.size[1]}"
            yield {"evaluation of": shape, "part": name, "ms": milliseconds, "host ms": host, "peak MiB": round(peak)}
