"""What agrees on a GPU and how closely: two runs, a continued run, precisions, devices."""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from gpu_sections.trials import SUPPRESSION, Row, device, small_network, trial
from trainable.config import TrialConfig
from trainable.data.augment import augmented_batches
from trainable.data.frames import load_splits
from trainable.data.statistics import train_statistics
from trainable.evaluate.evaluate import evaluate
from trainable.evaluate.metrics.names import MIOU, TRAIN_LOSS, repeats
from trainable.evaluate.metrics.rare import rare_classes
from trainable.train import seeds
from trainable.train.checkpoint import from_bytes, to_bytes
from trainable.train.compute import Compute
from trainable.train.engine import EpochResult, fit

Metrics = Mapping[str, float]
PRECISIONS: tuple[Literal["fp32", "bf16", "fp16"], ...] = ("fp32", "bf16", "fp16")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic algorithms ask for


def measure(tiny: bool) -> Iterator[Row]:
    """Yield a row per pair that is compared."""
    config = _trial(tiny)
    first, second, resumed = _run(config), _run(config), _resumed(config)
    yield {"trial, 2 epochs": "once more", **_compared(first, second)}
    yield {"trial, 2 epochs": "stopped after 1 and continued", **_compared(first, resumed)}
    complaints: set[str] = set()
    with _deterministic(complaints):
        first, second, resumed = _run(config), _run(config), _resumed(config)
    yield {"trial, 2 epochs": "deterministic algorithms, once more", **_compared(first, second)}
    yield {"trial, 2 epochs": "deterministic algorithms, continued", **_compared(first, resumed)}
    yield {"no deterministic algorithm for": "; ".join(sorted(complaints))}
    for precision in ("fp32", "fp16"):
        other = _run(_trial(tiny, precision=precision))
        yield {"trial, 2 epochs": f"{precision} in place of auto", **_compared(first, other)}
    yield from _evaluations(config)
    yield _pixels(config)


def _trial(tiny: bool, **train: object) -> TrialConfig:
    augment = {"scale": [0.5, 2.0], "flip": True, "photometric": 0.2}
    images, side = (16, 32) if tiny else (256, 64)
    data = {
        "name": "shapes",
        "size": [side, side],
        "train_images": images,
        "val_images": images // 4,
        "augment": augment,
    }
    suppression = {**SUPPRESSION, "sampling": "difficulty", "layer": ["encoder.4", "decoder"]}
    return trial(data, *small_network(tiny), {"epochs": 2, "batch_size": 16, **train}, suppression)


def _state(result: EpochResult) -> tuple[Metrics, dict[str, Tensor]]:
    weights = {name: value.detach().cpu().clone() for name, value in result.training.model.named_parameters()}
    return {name: value for name, value in result.metrics.items() if repeats(name)}, weights


def _run(config: TrialConfig) -> tuple[Metrics, dict[str, Tensor]]:
    *_, last = fit(config)
    return _state(last)


def _resumed(config: TrialConfig) -> tuple[Metrics, dict[str, Tensor]]:
    results = fit(config)
    content = to_bytes(next(results).state())
    del results
    (last,) = fit(config, resume_from=from_bytes(content))
    return _state(last)


def _compared(one: tuple[Metrics, dict[str, Tensor]], other: tuple[Metrics, dict[str, Tensor]]) -> Row:
    weights = max(float((one[1][name] - other[1][name]).abs().max()) for name in one[1])
    differing = [name for name in one[0] if one[0][name] != other[0].get(name)]
    return {
        "largest difference of a weight": weights,
        "metrics that differ": f"{len(differing)} of {len(one[0])}",
        "train/loss": one[0][TRAIN_LOSS],
        "other's": other[0][TRAIN_LOSS],
        "val/miou": one[0][MIOU],
        "other's val/miou": other[0][MIOU],
    }


@contextmanager
def _deterministic(complaints: set[str]) -> Iterator[None]:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            yield
        complaints |= {str(w.message).split(" does not")[0] for w in said if "determinis" in str(w.message)}
    finally:
        torch.use_deterministic_algorithms(False)


def _evaluations(config: TrialConfig) -> Iterator[Row]:
    """The same weights, evaluated in float32 on the CPU, and on the device in both precisions."""
    *_, last = fit(config)
    model, splits = last.training.model, load_splits(config.data)
    rare = rare_classes(train_statistics(config.data).pixels)
    cpu = Compute(torch.device("cpu"))
    expected, confusion_CC, _ = evaluate(config, model.cpu(), cpu, splits, rare)
    for precision in PRECISIONS:
        compute = Compute(device(), precision)
        metrics, other_CC, _ = evaluate(config, model.to(device()), compute, splits, rare)
        differences = {name: abs(value - expected[name]) for name, value in metrics.items() if name in expected}
        worst = max(differences, key=differences.__getitem__)
        yield {
            "evaluation": f"{device().type} {precision} against cpu float32",
            "pixels that differ": int((confusion_CC - other_CC).abs().sum()) // 2,
            "of": int(confusion_CC.sum()),
            "difference of val/miou": differences[MIOU],
            "largest difference": differences[worst],
            "of metric": worst,
        }


def _pixels(config: TrialConfig) -> Row:
    """The same augmented batch on both devices."""
    frames, chosen = load_splits(config.data).train, [torch.arange(16)]
    batches = []
    for where in (torch.device("cpu"), device()):
        generator = seeds.generator(config.seed, "augment", 1)
        (batch,) = augmented_batches(frames, chosen, config.data.augment, generator, where)
        batches.append([pixels.cpu().int() for pixels in batch])
    images, labels = ((one - other).abs() for one, other in zip(*batches, strict=True))
    return {
        "augmented batch": f"{device().type} against cpu",
        "largest difference of a pixel": int(images.max()),
        "share of pixels that differ": float((images > 0).double().mean()),
        "share of labels that differ": float((labels > 0).double().mean()),
    }
