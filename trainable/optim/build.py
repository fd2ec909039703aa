"""Optimizer, learning-rate schedule and class weights from the ``train`` section."""

import math
from collections.abc import Iterable, Sequence
from typing import Literal, assert_never

from torch import nn, optim
from torch.optim.lr_scheduler import LambdaLR

from trainable.data.statistics import ClassStatistics
from trainable.optim.config import SGD, AdamW, TrainConfig


def build_optimizer(train: TrainConfig, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
    """AdamW or SGD, in torch's fused form: one pass over each parameter."""
    choice = train.optimizer
    match choice:
        case AdamW():
            return optim.AdamW(parameters, lr=train.lr, weight_decay=choice.weight_decay, fused=True)
        case SGD():
            return optim.SGD(
                parameters, lr=train.lr, momentum=choice.momentum, weight_decay=choice.weight_decay, fused=True
            )
        case _:
            assert_never(choice)


def poly_factor(step: int, steps: int, power: float) -> float:
    """Learning rate of step ``step`` (from 0) of ``steps``, as a share of the first: (1 - t/T)^power."""
    return float(max(0.0, 1 - step / steps) ** power)


def build_schedule(train: TrainConfig, optimizer: optim.Optimizer, steps: int) -> LambdaLR:
    """Poly schedule over ``steps`` optimizer steps in all; call ``step`` once after each."""
    return LambdaLR(optimizer, lambda step: poly_factor(step, steps, train.poly_power))


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
