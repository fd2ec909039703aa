"""Which classes are rare: a fact of the training labels, fixed before any training. Imports no torch."""

from collections.abc import Sequence

RARE_SHARE = 0.02
"""A class is rare when it holds less than this share of the labelled training pixels."""


def rare_classes(train_pixels_C: Sequence[int]) -> tuple[int, ...]:
    """Classes with less than 2 % of the labelled training pixels, those without any included."""
    total = max(1, sum(train_pixels_C))
    return tuple(c for c, pixels in enumerate(train_pixels_C) if pixels / total < RARE_SHARE)
