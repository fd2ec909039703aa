"""Boundary IoU against masks that are eroded one by one, as in the authors' code."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainable.data.classes import IGNORE_INDEX
from trainable.evaluate.metrics.boundary import boundary_confusion, near_boundary
from trainable.evaluate.metrics.confusion import class_ious

C = 3


def slow_boundary(mask_HW: np.ndarray) -> np.ndarray:
    """The mask without what is left of it after d erosions by 3x3 pixels, zeros around the image."""
    eroded = mask_HW
    for _ in range(max(1, round(0.02 * math.hypot(*mask_HW.shape)))):
        padded = np.pad(eroded, 1)
        height, width = mask_HW.shape
        shifts = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
        eroded = np.logical_and.reduce(shifts)
    return mask_HW & ~eroded


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(5, 7), (40, 60), (64, 33), (90, 140)]), st.integers(1, C))
def test_boundary_ious_equal_eroded_masks(seed: int, size: tuple[int, int], classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(C, (2, 2, 1, 4, 3), generator=generator)
    coarse[0] %= classes
    labels, predicted = (torch.nn.functional.interpolate(part.float(), size)[:, 0].long() for part in coarse)
    labels[:, : size[0] // 3, :4] = IGNORE_INDEX
    found_C = class_ious(boundary_confusion(labels.byte(), predicted, C))[:C]
    for c in range(C):
        both = either = 0
        for label, guess in zip(labels.numpy(), predicted.numpy(), strict=True):
            known = label != IGNORE_INDEX
            truth, ours = slow_boundary(label == c), slow_boundary(guess == c) & known
            both, either = both + (truth & ours).sum(), either + (truth | ours).sum()
        assert float(found_C[c]) == pytest.approx(both / either if either else math.nan, nan_ok=True)


def test_a_tiny_image_is_all_boundary() -> None:
    assert near_boundary(torch.zeros(1, 2, 2, dtype=torch.uint8)).all()
    assert near_boundary(torch.zeros(1, 32, 4096, dtype=torch.uint8)).all()
