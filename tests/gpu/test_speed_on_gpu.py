"""What makes a trial fast on a GPU: a thread ahead of the steps, no waits in them, precisions, micro-batches."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from trainable.config import TrialConfig
from trainable.data.frames import load_splits
from trainable.data.prefetch import ahead
from trainable.data.statistics import train_statistics
from trainable.data.transfer import device_batches
from trainable.evaluate.metrics.names import TRAIN_LOSS
from trainable.failure import TrialFailed
from trainable.train import seeds
from trainable.train.compute import choose_compute, tf32_convolutions
from trainable.train.engine import fit, prepare
from trainable.train.epoch import Training, _batches, _seen, train_epoch
from trainable.train.meter import Meter

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

SUPPRESSION = {"gate_norm": "mean", "alpha": 1.0, "schedule": "constant", "loss_ramp": "constant"}
ERASE = {"layer": "input", "schedule": "constant"}
SAMPLING: list[Any] = [
    "uniform", "present", "frequency", "inverse_frequency", "effective_number", "temperature", "difficulty",
    "co_occurrence", "round_robin", {"name": "listed", "classes": ["meadow", "sand"]},
]  # fmt: skip
AUGMENT = {"scale": [0.5, 2.0], "crop": [64, 64], "crop_max_share": 0.75, "flip": True, "photometric": 0.5}


def trial(suppression: dict[str, Any] | None = None, data: dict[str, Any] | None = None, **train: Any) -> TrialConfig:
    tree = {
        "data": {"name": "shapes", "train_images": 64, "val_images": 16, "augment": AUGMENT, **(data or {})},
        "model": {"arch": "fpn", "encoder": "resnet18", "encoder_weights": None},
        "train": {"epochs": 2, "batch_size": 16, "class_weights": "log_frequency", **train},
        "suppression": suppression,
    }
    return TrialConfig.model_validate_json(json.dumps(tree))


def begun(config: TrialConfig) -> Training:
    compute = choose_compute("cuda", config.train.precision)
    return prepare(config, compute, config.data.train_images, train_statistics(config.data))  # type: ignore[union-attr]


@contextmanager
def waits_are_errors_after_the_first_step() -> Iterator[list[int]]:
    """Of an epoch's steps, batches and thread included; its end looks at the losses and may wait."""
    steps: list[int] = []
    add, metrics = Meter.add, Meter.metrics

    def added(meter: Meter, *loss_and_terms: Any) -> None:
        add(meter, *loss_and_terms)
        steps.append(1)
        if len(steps) == 1:
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error")

    def ended(meter: Meter) -> dict[str, float]:
        torch.cuda.set_sync_debug_mode("default")
        return metrics(meter)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Meter, "add", added)
        patch.setattr(Meter, "metrics", ended)
        try:
            yield steps
        finally:
            torch.cuda.set_sync_debug_mode("default")


def steps_do_not_wait(config: TrialConfig) -> None:
    training, frames = begun(config), load_splits(config.data).train
    train_epoch(training, frames, 1, limit=1)  # kernels are loaded, memory of the host is pinned
    with waits_are_errors_after_the_first_step() as steps:
        train_epoch(training, frames, 2)
    assert len(steps) == 4


@pytest.mark.parametrize("sampling", SAMPLING)
@pytest.mark.parametrize("layer", ["decoder", "encoder.3", "input"])
def test_no_step_waits_with_any_sampling(layer: str, sampling: Any) -> None:
    settings = {**(ERASE if layer == "input" else SUPPRESSION), "layer": layer, "sampling": sampling}
    steps_do_not_wait(trial({**settings, "granularity": "image"}))


@pytest.mark.parametrize(
    ("suppression", "train"),
    [
        (None, {}),
        (None, {"precision": "fp16", "clip_norm": 1.0}),
        (None, {"accumulate": 4, "precision": "fp16"}),
        (None, {"optimizer": "sgd", "encoder_lr_factor": 0.1, "warmup_steps": 2}),
        (None, {"loss": "ohem"}),
        ({**SUPPRESSION, "layer": ["encoder.3", "decoder"], "granularity": "image"}, {"accumulate": 2}),
        ({**SUPPRESSION, "reweight": "keep", "granularity": {"name": "groups", "shares": [1, 3]}}, {}),
        ({**SUPPRESSION, "layer": "encoder.3", "importance": "gradient"}, {"loss": "focal"}),
        ({**ERASE, "layer": ["input", "encoder.3"], "mechanism": {"name": "erase", "mask": "blocks"}}, {}),
        ({**ERASE, "layer": ["input", "encoder.3"], "mechanism": "erase"}, {"accumulate": 2}),
    ],
)
def test_no_step_waits_with_other_settings(suppression: dict[str, Any] | None, train: dict[str, Any]) -> None:
    steps_do_not_wait(trial(suppression, {"rare_copy_paste": 0.5}, **train))


def test_the_thread_hands_over_the_same_batches() -> None:
    """While the stream of the steps is busy, and the memory of earlier batches is used again."""
    config = trial(data={"rare_copy_paste": 0.5})
    training, frames = begun(config), load_splits(config.data).train
    batches = _batches(training, frames, seeds.generator(0, "order", 1)) * 3
    busy = torch.randn(2000, 2000, device="cuda")
    found: list[list[Tensor]] = []
    for context in (ahead, lambda made, _: nullcontext(made)):
        kept = []
        made = _seen(training, frames, batches, seeds.generator(0, "augment", 1))
        with context(made, torch.device("cuda")) as seen:
            for images, labels in seen:
                for _ in range(5):
                    busy = (busy @ busy).sigmoid()
                kept += [images.clone(), labels.clone()]
                del images, labels
        found.append(kept)
    assert len(found[0]) == len(found[1]) == 2 * len(batches)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_evaluation_batches_are_those_of_the_frames() -> None:
    frames, indices = load_splits(trial().data).val, [torch.tensor([3, 1]), torch.tensor([2])]
    on_gpu = list(device_batches(frames, indices, torch.device("cuda")))
    for ours, theirs in zip(on_gpu, frames.batches(indices), strict=True):
        assert all(torch.equal(one.cpu(), other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("end", ["closed", "failed"])
def test_no_thread_and_no_memory_stay_behind(end: str) -> None:
    results = fit(trial(lr=1e20 if end == "failed" else 1e-3, clip_norm=None), device="cuda")
    try:
        next(results)
        results.close()  # type: ignore[attr-defined]
    except TrialFailed:
        assert end == "failed"
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_learns(precision: str) -> None:
    if precision == "bf16" and torch.cuda.get_device_capability()[0] < 8:
        pytest.skip("no bfloat16 units")
    first, last = fit(trial(SUPPRESSION, precision=precision, epochs=3), device="cuda"), None
    losses = [result.metrics[TRAIN_LOSS] for result in first]
    assert losses[-1] < losses[0], last


def test_accumulation_takes_less_memory_for_the_same_loss() -> None:
    peaks, losses = [], []
    for accumulate in (1, 4):
        config = trial(SUPPRESSION, {"augment": {"crop": [128, 256]}}, accumulate=accumulate, precision="fp32")
        training, frames = begun(config), load_splits(config.data).train
        torch.cuda.reset_peak_memory_stats()
        losses.append(train_epoch(training, frames, 1, limit=1)[TRAIN_LOSS])
        peaks.append(torch.cuda.max_memory_allocated())
        del training
    assert peaks[1] < 0.6 * peaks[0]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)  # batch statistics are those of four images


def test_tf32_changes_convolutions_alone() -> None:
    if torch.cuda.get_device_capability()[0] < 8:
        pytest.skip("no TF32 units")
    torch.manual_seed(0)
    maps, convolution = torch.randn(2, 64, 32, 32, device="cuda"), torch.nn.Conv2d(64, 64, 3).cuda()
    exact = torch.nn.functional.conv2d(maps.double(), convolution.weight.double(), convolution.bias.double())  # type: ignore[union-attr]
    errors = []
    for allowed in (True, False):
        with torch.no_grad(), tf32_convolutions(allowed):
            errors.append(float((convolution(maps) - exact).abs().max()))
            product = maps.flatten(1) @ maps.flatten(1).mT
            assert float((product - maps.flatten(1).double() @ maps.flatten(1).double().mT).abs().max()) < 0.05
    assert errors[1] < 1e-4 < errors[0]
