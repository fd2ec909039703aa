"""The two ramps over training progress: probability of a drop, and weight of the suppressed path in the loss.

Both are constant within an epoch. Progress is u = epoch_index / epochs with epoch_index from 0, as in the official
code: the first epoch has u = 0 and the last does not reach 1. Imports no torch.
"""

from typing import assert_never

from trainable.suppression.config import SuppressionConfig


def progress(epoch: int, epochs: int) -> float:
    """Progress u in [0, 1) during epoch ``epoch``, which counts from 1."""
    return (epoch - 1) / epochs


def drop_probability(suppression: SuppressionConfig, u: float) -> float:
    """p(u): linear p_max * u (official, with p_max = 1) or constant p_max."""
    match suppression.schedule:
        case "linear":
            return suppression.p_max * u
        case "constant":
            return suppression.p_max
        case _:
            assert_never(suppression.schedule)


def suppressed_weight(suppression: SuppressionConfig, u: float) -> float:
    """Weight w of the suppressed path, the plain path has 1 - w: linear u (official) or constant one half."""
    match suppression.loss_ramp:
        case "linear":
            return u
        case "constant":
            return 0.5
        case _:
            assert_never(suppression.loss_ramp)
