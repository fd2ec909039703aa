"""A probe of GPU memory runs what takes most of it, and says what stands in its way."""

import json
from typing import Any

import pytest
import torch

from trainable.config import TrialConfig
from trainable.failure import OutOfMemory, TrialFailed
from trainable.suppression.drop import Drop
from trainable.train import gpu_memory
from trainable.train.peak import measure_peak

GIB = 2**30


def trial(**suppression: Any) -> TrialConfig:
    tree = {
        "data": {"name": "shapes", "size": [32, 32], "train_images": 24, "val_images": 8},
        "model": {"arch": "linknet", "encoder": "tu-test_resnet", "encoder_weights": None},
        "train": {"epochs": 10, "batch_size": 4},
        "suppression": suppression,
    }
    return TrialConfig.model_validate_json(json.dumps(tree))


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_memory, "peak_bytes", lambda: 3 * GIB)
    monkeypatch.setattr(gpu_memory, "total_bytes", lambda: 24 * GIB)


@pytest.mark.usefixtures("pretended")
def test_every_step_suppresses_however_late_the_trial_would(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainable.train import epoch

    drops: list[Drop | None] = []
    losses = epoch.suppressed_losses

    def watched(model: Any, batch: Any, drop: Drop | None, *rest: Any) -> Any:
        drops.append(drop)
        return losses(model, batch, drop, *rest)

    monkeypatch.setattr(epoch, "suppressed_losses", watched)
    assert measure_peak(trial(start=0.5, p_max=0.1), threads=1, device="cpu") == (3 * GIB, 24 * GIB)
    assert len(drops) == 2
    assert None not in drops


def test_a_worker_without_a_gpu_says_so() -> None:
    with pytest.raises(TrialFailed, match=r"resources\.gpu: auto measures memory on a GPU, and its worker sees none"):
        measure_peak(trial(), threads=1, device="cpu")


@pytest.mark.parametrize("part", ["train_epoch", "evaluate", "prepare"])
def test_a_probe_that_runs_out_of_memory_says_so(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(f"trainable.train.peak.{part}", full)
    with pytest.raises(OutOfMemory, match=r"^probe: the GPU is out of memory"):
        measure_peak(trial(), threads=1, device="cpu")
