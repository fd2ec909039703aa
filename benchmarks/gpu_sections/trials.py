"""The trials that the sections run, the device they run on, and its clock."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from trainable.config import TrialConfig, read_trial

Row = dict[str, str | float | None]
SUPPRESSION: Mapping[str, object] = {"schedule": "constant", "loss_ramp": "constant", "alpha": 1.0, "gate_norm": "mean"}
"""Drops a class in every step."""


def small_network(tiny: bool) -> tuple[str, str]:
    """Architecture and encoder of the trials of small frames; with ``tiny`` of those that only show that code runs."""
    return ("linknet", "tu-test_resnet") if tiny else ("fpn", "resnet18")


def device() -> torch.device:
    """The GPU, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def small_trial(
    tiny: bool, *, epochs: int, suppression: Mapping[str, object] | None = SUPPRESSION, **train: object
) -> TrialConfig:
    """A trial of the size at which settings are searched: FPN ResNet-18 on shapes 64x64, batch 16."""
    data = {"name": "shapes", "train_images": 32 if tiny else 400, "val_images": 8 if tiny else 100}
    train = {"epochs": epochs, "batch_size": 8 if tiny else 16, **train}
    return trial(data, *small_network(tiny), train, suppression)


def large_trial(
    tiny: bool, folder: Path, *, crop: bool, suppression: Mapping[str, object] | None = None, **train: object
) -> TrialConfig:
    """DeepLabV3+ ResNet-50, 512x1024, batch 8, on a folder: frames resized to that, or random scales and crops."""
    height, width = (64, 128) if tiny else (512, 1024)
    data: dict[str, object] = {"name": "folder", "root": str(folder), "size": [height, width]}
    if crop:
        augment = {"scale": [0.5, 2.1], "crop": [height, width], "crop_max_share": 0.75, "flip": True}
        data |= {"size": [2 * height, 2 * width], "augment": augment}
    network, batch = (small_network(tiny), 2) if tiny else (("deeplabv3plus", "resnet50"), 8)
    return trial(data, *network, {"epochs": 3, "batch_size": batch, **train}, suppression)


def trial(
    data: Mapping[str, object],
    arch: str,
    encoder: str,
    train: Mapping[str, object],
    suppression: Mapping[str, object] | None,
) -> TrialConfig:
    """A trial with random weights."""
    model = {"arch": arch, "encoder": encoder, "encoder_weights": None}
    return read_trial({"data": data, "model": model, "train": train, "suppression": suppression})


def step_times(step: Callable[[], object], steps: int) -> tuple[float, float, float]:
    """Milliseconds per step on the device, until the host may go on, and the peak memory above the rest in MiB.

    The steps follow one another without a wait, as in training.
    """
    if device().type != "cuda":
        begun = time.process_time()
        for _ in range(steps):
            step()
        milliseconds = (time.process_time() - begun) * 1e3 / steps
        return milliseconds, milliseconds, 0.0
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    rest = torch.cuda.memory_allocated()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    begin.record()
    host = time.perf_counter()
    for _ in range(steps):
        step()
    host = time.perf_counter() - host
    end.record()
    end.synchronize()
    peak = (torch.cuda.max_memory_allocated() - rest) / 2**20
    return float(begin.elapsed_time(end)) / steps, host * 1e3 / steps, peak
