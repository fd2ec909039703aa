"""Draw the class z that a training step suppresses: one draw per forward, shared by the batch.

All draws use a CPU generator of the caller, so a run on a GPU suppresses the same classes as one on a CPU.
Shapes: C classes.
"""

from collections.abc import Sequence
from typing import assert_never

import torch
from torch import Tensor

from trainable.suppression.config import (
    InverseFrequencySampling,
    PresentSampling,
    Sampling,
    UniformSampling,
)


def class_weights(sampling: Sampling, train_pixels_C: Sequence[int], present_C: Tensor) -> Tensor:
    """Weights [C] (float64, sum 1) with which z is drawn.

    Args:
        sampling: the strategy.
        train_pixels_C: pixels of each class in the training labels.
        present_C: bool [C] on the CPU, the classes that occur in the batch's labels.

    ``present`` with no class in the batch (every pixel ignored) is uniform over all classes.
    """
    match sampling:
        case UniformSampling():
            weights_C = torch.ones(len(train_pixels_C), dtype=torch.float64)
        case PresentSampling():
            weights_C = (present_C if present_C.any() else torch.ones_like(present_C)).double()
        case InverseFrequencySampling():
            weights_C = inverse_frequency(train_pixels_C, sampling.tau)
        case _:
            assert_never(sampling)
    return weights_C / weights_C.sum()


def inverse_frequency(train_pixels_C: Sequence[int], tau: float) -> Tensor:
    """f_c^(-tau) up to a factor, [C]: f the share of training pixels.

    A class without training pixels weighs as much as the rarest class that has some. f = 0 has no power, and a share
    of one pixel would let that class take nearly all draws although there is nothing to learn from them.
    """
    pixels_C = torch.tensor(train_pixels_C, dtype=torch.float64)
    seen_C = pixels_C > 0
    if not seen_C.any():
        return torch.ones_like(pixels_C)
    rarest = pixels_C[seen_C].min()
    # relative to the rarest class: every weight lies in (0, 1] whatever tau is
    return (rarest / torch.where(seen_C, pixels_C, rarest)) ** tau


def draw_class(weights_C: Tensor, probability: float, generator: torch.Generator) -> int | None:
    """Draw z with the given weights, or None: no drop, with probability 1 - ``probability``.

    Coin and class are drawn in every step, so trials that differ in the probability alone draw the same classes.
    """
    coin = torch.rand((), generator=generator, dtype=torch.float64).item()
    chosen = int(torch.multinomial(weights_C, 1, generator=generator).item())
    return chosen if coin < probability else None
