"""Optimizer and learning-rate schedule from the ``train`` section."""

from collections.abc import Iterable
from typing import assert_never

from torch import nn, optim
from torch.optim.lr_scheduler import LambdaLR

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
