"""The two ramps over training progress: probability of a drop, and weight of the suppressed path in the loss.

Progress is u = epoch_index / epochs with epoch_index from 0, constant within an epoch as in the official code, or
u = step_index / steps: it begins at 0 and does not reach 1. With ``start`` both count from the first epoch that
suppresses, over those that are left. Imports no torch.
"""

import math
from typing import assert_never

from trainable.suppression.config import Constant, ConstantWeight, Cosine, Linear, SuppressionConfig, WarmupConstant


def progress(suppression: SuppressionConfig, epoch: int, epochs: int, step: int, steps: int) -> float:
    """Progress u in [0, 1) at step ``step`` of ``steps`` of epoch ``epoch`` of ``epochs``; both count from 1.

    It is 0 in the plain epochs before ``suppression.start``.
    """
    plain = suppression.plain_epochs(epochs)
    if epoch <= plain:
        return 0.0
    match suppression.progress:
        case "epoch":
            return (epoch - 1 - plain) / (epochs - plain)
        case "iteration":
            return (epoch - 1 - plain + (step - 1) / steps) / (epochs - plain)
        case _:
            assert_never(suppression.progress)


def drop_probability(suppression: SuppressionConfig, u: float) -> float:
    """p(u): p_max times u (official, with p_max = 1), 1, min(1, u / warmup) or half a cosine wave."""
    schedule = suppression.schedule
    match schedule:
        case Linear():
            return suppression.p_max * u
        case Constant():
            return suppression.p_max
        case WarmupConstant():
            return suppression.p_max * min(1.0, u / schedule.warmup)
        case Cosine():
            return suppression.p_max * _half_wave(u)
        case _:
            assert_never(schedule)


def suppressed_weight(suppression: SuppressionConfig, u: float) -> float:
    """Weight w of the suppressed path, the plain path has 1 - w: u (official), a constant or half a cosine wave."""
    ramp = suppression.loss_ramp
    match ramp:
        case Linear():
            return u
        case ConstantWeight():
            return ramp.weight
        case Cosine():
            return _half_wave(u)
        case _:
            assert_never(ramp)


def _half_wave(u: float) -> float:
    return (1 - math.cos(math.pi * u)) / 2
