"""The seam of batch norm: what becomes of a network, and back. What it computes is in ``test_ranks``."""

import copy

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from trainable.model import norm_over_ranks as batch_norm
from trainable.model.encoders import ModelError
from trainable.model.norm_over_ranks import of_one_process, over_ranks


class OwnNorm(nn.BatchNorm2d):
    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(maps)


def network(*norms: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), *norms, nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4))
    return layers.to(memory_format=torch.channels_last).eval()


def kinds(layers: nn.Module) -> list[type[nn.Module]]:
    return [type(module) for module in layers.modules()]


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_a_norm_over_ranks_predicts_and_is_kept_as_before(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randn(2, 3, 2, 2)
    layers = network(nn.BatchNorm2d(4), BatchNormAct2d(4))
    before, state, expected = kinds(layers), copy.deepcopy(layers.state_dict()), layers(images)
    weights = list(layers.parameters())
    monkeypatch.setattr(batch_norm, "world", lambda: 2)
    if device == "gpu":  # which predicts on a CPU too
        monkeypatch.setattr(batch_norm, "_on_cpu", lambda kind, _: batch_norm._on_gpu(kind))
    over_ranks(layers)
    assert sum(now is not then for now, then in zip(kinds(layers), before, strict=True)) == 3
    assert all(isinstance(module, nn.SyncBatchNorm) == (device == "gpu") for module in layers if is_norm(module))
    assert list(layers.state_dict()) == list(state)
    assert [a is b for a, b in zip(layers.parameters(), weights, strict=True)] == [True] * len(weights)
    assert torch.equal(layers(images), expected)
    layers.load_state_dict(state)
    away = copy.deepcopy(layers)
    of_one_process(away)
    assert kinds(away) == before
    assert [sorted(vars(a)) for a in away] == [sorted(vars(b)) for b in network(nn.BatchNorm2d(4), BatchNormAct2d(4))]
    assert torch.equal(away(images), expected)


def is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


def test_one_process_keeps_its_norms() -> None:
    layers = network(nn.BatchNorm2d(4))
    before = kinds(layers)
    over_ranks(layers)
    assert kinds(layers) == before


def test_a_norm_of_its_own_kind_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_norm, "world", lambda: 2)
    with pytest.raises(ModelError, match=r"^model\.encoder: several ranks cannot share its OwnNorm \(1\)$"):
        over_ranks(network(OwnNorm(4)))
