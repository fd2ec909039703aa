"""What the training labels say about the classes: the facts from which sampling strategies and rare classes derive.

Imports no torch.
Shapes: N training images, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from trainable.data.config import DataConfig
from trainable.data.splits import array_splits


@dataclass(frozen=True)
class ClassStatistics:
    """Counts over the training labels at the configured size; ignored pixels are not counted."""

    pixels: tuple[int, ...]
    """[C], pixels of each class."""
    images: tuple[int, ...]
    """[C], images that hold each class."""
    together: tuple[tuple[int, ...], ...]
    """[C,C], images that hold both classes; the diagonal is ``images``."""
    total_images: int
    """N."""

    @classmethod
    def of(cls, pixels_NC: npt.NDArray[np.int64] | Sequence[Sequence[int]]) -> Self:
        """Statistics of the pixels of each class in each image."""
        counts_NC = np.asarray(pixels_NC, dtype=np.int64)
        present_NC = (counts_NC > 0).astype(np.int64)
        together_CC = present_NC.T @ present_NC
        return cls(
            pixels=tuple(counts_NC.sum(axis=0).tolist()),
            images=tuple(present_NC.sum(axis=0).tolist()),
            together=tuple(map(tuple, together_CC.tolist())),
            total_images=len(counts_NC),
        )


def train_statistics(data: DataConfig) -> ClassStatistics:
    """Statistics of the training split, counted when it was cached; raises ``DataError`` as loading does."""
    return ClassStatistics.of(array_splits(data)["train"].counts)
