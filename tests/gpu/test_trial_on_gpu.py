"""A trial on a CUDA device: bfloat16 steps, agreement with the CPU, memory. Run with ``pytest tests/gpu``."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from trainable.config import TrialConfig
from trainable.data.augment import augmented_batches
from trainable.data.frames import load_splits
from trainable.data.statistics import train_statistics
from trainable.evaluate.changed_frames import evaluate_changed
from trainable.evaluate.config import Context, Corruptions, Evaluation
from trainable.evaluate.metrics.names import CORRUPTED_MIOU, MIOU, TRAIN_CE, TRAIN_DROPPED, TRAIN_LOSS
from trainable.failure import TrialFailed
from trainable.train.clock import PartClock
from trainable.train.compute import choose_compute
from trainable.train.engine import fit, prepare
from trainable.train.epoch import _step
from trainable.train.probe import probe
from trainable.train.step import Batch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def trial(**train: Any) -> TrialConfig:
    suppression = {"gate_norm": "mean", "alpha": 1.0, "schedule": "constant", "loss_ramp": "constant"}
    tree = {
        "data": {"name": "shapes", "train_images": 64, "val_images": 16, "augment": {"scale": [0.5, 2.0]}},
        "model": {"arch": "fpn", "encoder": "resnet18", "encoder_weights": None},
        "train": {"epochs": 2, "batch_size": 16, **train},
        "suppression": {**suppression, "sampling": {"name": "present"}},
    }
    return TrialConfig.model_validate_json(json.dumps(tree))


def test_bfloat16_steps_are_finite_and_learn() -> None:
    first, last = fit(trial(), device="cuda")
    assert last.metrics[TRAIN_CE] < first.metrics[TRAIN_CE]
    assert 0 <= last.metrics[MIOU] <= 1


def test_both_devices_see_the_same_batches() -> None:
    """In float32 the first epoch agrees loosely: same weights, crops, suppressed classes, other arithmetic."""
    config = trial(precision="fp32", epochs=1, lr=1e-5)
    on_cpu, on_gpu = (next(fit(config, device=device)).metrics for device in ("cpu", "cuda"))
    assert on_gpu[TRAIN_LOSS] == pytest.approx(on_cpu[TRAIN_LOSS], rel=0.02)
    assert on_gpu[TRAIN_DROPPED] == on_cpu[TRAIN_DROPPED]


def test_changed_frames_are_measured_alike_on_both_devices() -> None:
    """One network, float32; noise is drawn on the device, so frames are filled with the mean."""
    config = trial(precision="fp32", epochs=1)
    evaluation = Evaluation(context=Context(fill="mean"), corruptions=Corruptions())
    config = config.model_copy(update={"evaluation": evaluation})
    (result,) = fit(config, device="cuda")
    frames, model = load_splits(config.data).val, result.training.model
    compute = result.training.compute
    on_cpu = replace(compute, device=torch.device("cpu"))
    again = evaluate_changed(config, model.cpu(), on_cpu, frames, result.rare, epoch=1)
    assert result.reliance is not None
    torch.testing.assert_close(result.reliance, again.reliance, rtol=0, atol=0.02, equal_nan=True)
    assert result.metrics[CORRUPTED_MIOU] == pytest.approx(again.metrics[CORRUPTED_MIOU], abs=0.02)


@pytest.mark.parametrize("finish", ["closed", "exhausted", "failed"])
def test_memory_is_free_afterwards(finish: str) -> None:
    torch.ones(1, device="cuda").sum().item()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    results = fit(trial(lr=1e20 if finish == "failed" else 1e-3), device="cuda")
    try:
        next(results)
        assert torch.cuda.memory_reserved() > before
        if finish == "exhausted":
            list(results)
    except TrialFailed:
        assert finish == "failed"
    results.close()  # type: ignore[attr-defined]
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= before + 64 * 2**20  # cuDNN keeps workspaces


def test_a_trainers_steps_do_not_wait_for_the_gpu() -> None:
    """Augmentation, copies, normalisation, draws, steps and the clock; only an epoch's end may wait."""
    config = trial(class_weights="log_frequency")
    frames, statistics = load_splits(config.data).train, train_statistics(config.data)
    training = prepare(config, choose_compute("cuda", "auto"), len(frames), statistics)
    augment = config.data.augment.model_copy(update={"flip": True, "photometric": 0.5})

    def steps() -> None:
        clock, drawn = PartClock(training.compute.device), torch.Generator().manual_seed(0)
        batches = [torch.arange(16), torch.arange(16, 32)]
        for images, labels in augmented_batches(frames, batches, augment, drawn, training.compute.device):
            _step(training, Batch(training.compute.network_input(images), labels.long()), 0.5, drawn, clock)

    training.model.train()
    steps()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        steps()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_both_devices_cut_the_same_crops() -> None:
    config = trial()
    frames, batches = load_splits(config.data).train, [torch.arange(64)]
    augment = config.data.augment.model_copy(update={"crop": (32, 96), "flip": True})
    pixels = []
    for device in ("cpu", "cuda"):
        drawn = torch.Generator().manual_seed(0)
        ((images, labels),) = augmented_batches(frames, batches, augment, drawn, torch.device(device))
        pixels.append((images.cpu().int(), labels.cpu()))
    assert (pixels[0][0] - pixels[1][0]).abs().max() <= 1  # rounding of the resized image
    assert (pixels[0][1] != pixels[1][1]).double().mean() < 1e-3


def test_a_probe_on_the_gpu() -> None:
    assert probe(trial(), device="cuda").step_seconds > 0
