"""Optimizer, learning-rate schedule and class weights from the ``train`` section."""

import math
from collections.abc import Sequence
from typing import Any, Literal, assert_never

import torch
from torch import nn, optim
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.optimizer import ParamsT

from trainable.data.errors import DataError
from trainable.data.statistics import ClassStatistics
from trainable.optim.config import SGD, AdamW, TrainConfig

FUSED_ON = ("cpu", "cuda", "mps", "xpu")
"""Devices for which torch has fused AdamW and SGD; elsewhere it takes the weights in groups (foreach)."""


def parameter_groups(train: TrainConfig, model: nn.Module) -> ParamsT:
    """The weights of a model with an ``encoder``; in two groups, the encoder's last, where it has a rate of its own."""
    if train.encoder_lr_factor == 1:
        return model.parameters()
    encoder = list(model.get_submodule("encoder").parameters())
    of_encoder = set(map(id, encoder))
    others = [parameter for parameter in model.parameters() if id(parameter) not in of_encoder]
    groups: list[dict[str, Any]] = [{"params": others}, {"params": encoder, "lr": train.lr * train.encoder_lr_factor}]
    return groups


def build_optimizer(train: TrainConfig, parameters: ParamsT) -> optim.Optimizer:
    """AdamW or SGD, in torch's fused form where the device has one: one pass over all weights."""
    choice = train.optimizer
    groups: list[Any] = list(parameters)
    form: dict[str, Any] = {"fused" if _device_of(groups).type in FUSED_ON else "foreach": True}
    match choice:
        case AdamW():
            return optim.AdamW(groups, lr=train.lr, weight_decay=choice.weight_decay, **form)
        case SGD():
            decay = choice.weight_decay
            return optim.SGD(groups, lr=train.lr, momentum=choice.momentum, weight_decay=decay, **form)
        case _:
            assert_never(choice)


def _device_of(groups: Sequence[object]) -> torch.device:
    first = groups[0]["params"][0] if isinstance(groups[0], dict) else groups[0]
    assert isinstance(first, torch.Tensor)
    return first.device


def poly_factor(step: int, steps: int, power: float) -> float:
    """Learning rate of step ``step`` (from 0) of ``steps``, as a share of the first: (1 - t/T)^power."""
    return float(max(0.0, 1 - step / steps) ** power)


def warmup_factor(step: int, warmup: int) -> float:
    """Share of the learning rate at step ``step`` (from 0): rises linearly, and is 1 from the last of ``warmup`` on."""
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def build_schedule(train: TrainConfig, optimizer: optim.Optimizer, steps_per_epoch: int) -> LambdaLR:
    """Warm-up and poly schedule over all optimizer steps; call ``step`` once after each.

    Raises:
        DataError: the warm-up is as long as the training.
    """
    steps = train.epochs * steps_per_epoch
    warmup = train.warmup_steps or round(train.warmup_epochs * steps_per_epoch)
    if warmup >= steps and train.warmup_steps:
        training = f"{train.epochs} epochs of {steps_per_epoch} steps"
        raise DataError(
            f"must be below the {steps} steps of the training ({training}), got {warmup}", "train.warmup_steps"
        )
    return LambdaLR(optimizer, lambda step: warmup_factor(step, warmup) * poly_factor(step, steps, train.poly_power))


def class_weights(
    chosen: Sequence[float] | Literal["log_frequency"] | None, statistics: ClassStatistics
) -> tuple[float, ...] | None:
    """Weight of each class in the cross-entropy, [C]; None weighs all alike."""
    if chosen is None:
        return None
    if chosen != "log_frequency":
        assert not isinstance(chosen, str)
        return tuple(chosen)
    total = max(1, sum(statistics.pixels))
    weights = [1 / math.log(1.02 + pixels / total) for pixels in statistics.pixels]
    return tuple(weight * len(weights) / sum(weights) for weight in weights)
