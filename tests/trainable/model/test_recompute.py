"""Activations that are computed again give exactly what kept ones give: weights, statistics, random numbers."""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from trainable.config import TrialConfig
from trainable.data.frames import load_splits
from trainable.data.statistics import train_statistics
from trainable.train.compute import choose_compute
from trainable.train.engine import fit, prepare
from trainable.train.epoch import train_epoch

NETWORKS = [
    ("deeplabv3plus", "resnet18"),
    ("unet", "tu-efficientnet_b0"),  # stochastic depth and squeeze-and-excitation
    ("fpn", "mobilenet_v2"),
    ("segformer", "mit_b0"),  # attention; dropout in the decoder
    ("pspnet", "resnet18"),  # dropout in the decoder
    ("linknet", "tu-test_resnet"),
]
LAYERS: list[Mapping[str, Any] | None] = [
    None,
    {"layer": "decoder"},
    {"layer": "encoder.3"},
    {"layer": ["encoder.2", "decoder"], "importance": "gradient"},
    {"layer": "encoder.3", "mechanism": "erase"},
]


def trial(arch: str, encoder: str, suppression: Mapping[str, Any] | None, **train: Any) -> TrialConfig:
    tree = {
        "data": {"name": "shapes", "size": [64, 64], "train_images": 8, "val_images": 2},
        "model": {"arch": arch, "encoder": encoder, "encoder_weights": None},
        "train": {"epochs": 2, "batch_size": 4, "lr": 0.01, **train},
        "suppression": suppression and {"p_max": 1.0, "schedule": "constant", **suppression},
    }
    return TrialConfig.model_validate_json(json.dumps(tree))


def outcome(config: TrialConfig) -> dict[str, Any]:
    torch.set_num_threads(1)
    last = list(fit(config, device="cpu"))[-1]
    metrics = {name: value for name, value in last.metrics.items() if not name.endswith("_seconds")}
    return {"metrics": metrics, "model": dict(last.training.model.state_dict())}


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one["metrics"] == other["metrics"]
    assert one["model"].keys() == other["model"].keys()
    for name, value in one["model"].items():
        same = other["model"][name]
        assert torch.equal(value, same) if isinstance(value, torch.Tensor) else value == same, name


def both(arch: str, encoder: str, suppression: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    return [outcome(trial(arch, encoder, suppression, memory=memory)) for memory in ("standard", "recompute")]


@pytest.mark.parametrize(("arch", "encoder"), NETWORKS)
def test_networks_train_to_the_same_bit(arch: str, encoder: str) -> None:
    assert_equal(*both(arch, encoder, {"layer": "decoder"}))


@pytest.mark.parametrize("suppression", LAYERS)
def test_layers_train_to_the_same_bit(suppression: Mapping[str, Any] | None) -> None:
    assert_equal(*both("fpn", "resnet18", suppression))


def kept_bytes(memory: str, suppression: Mapping[str, Any] | None) -> int:
    """What a training step keeps for its backward pass."""
    config = trial("deeplabv3plus", "resnet18", suppression, memory=memory)
    splits, compute = load_splits(config.data), choose_compute("cpu", "auto")
    training = prepare(config, compute, len(splits.train), train_statistics(config.data))
    storages: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = sum(parameter.nbytes for parameter in training.model.parameters())
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        train_epoch(training, splits.train, epoch=1, limit=1)
    return sum(storages.values()) - weights


@pytest.mark.parametrize("suppression", [None, {"layer": "encoder.2"}])
def test_less_is_kept_for_the_backward_pass(suppression: Mapping[str, Any] | None) -> None:
    assert kept_bytes("recompute", suppression) < 0.6 * kept_bytes("standard", suppression)


def test_running_statistics_would_move_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the guard around buffers is for."""
    monkeypatch.setattr("trainable.model.recompute._buffers_kept", lambda _: nullcontext())
    one, other = both("fpn", "resnet18", None)
    assert one["metrics"] != other["metrics"]


def test_what_is_compiled_is_not_recomputed() -> None:
    with pytest.raises(ValidationError, match="does not go with compile: true"):
        trial("fpn", "resnet18", None, memory="exact", compile=True)


def test_the_default_leaves_no_trace_in_a_trial() -> None:
    assert "memory" not in trial("fpn", "resnet18", None).model_dump(mode="json")["train"]
