"""The splits of a data section as numpy sees them: mapped from the cache, or made in memory. Imports no torch.

Shapes: N frames of a split, C classes, H W the configured size.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Self, assert_never

import numpy as np

from trainable.data.cache import open_cache
from trainable.data.classes import SHAPES
from trainable.data.config import (
    CamVidData,
    CityscapesData,
    DataConfig,
    FolderData,
    OwnData,
    ShapesData,
    VocData,
    frames_of,
)
from trainable.data.decode import Bytes
from trainable.data.layout import SPLITS
from trainable.data.mapped import Counts, MappedSplit
from trainable.data.own_data import own_frames
from trainable.data.shapes import CONTEXTS, make_scenes

KEPT_DATA_SETS = 2
"""Data sets that a process keeps open; trials of a study usually share one."""


@dataclass(frozen=True)
class HeldSplit:
    """Frames in memory."""

    images: Bytes
    """[N,3,H,W]."""
    labels: Bytes
    """[N,H,W]."""
    counts: Counts
    """[N,C], pixels of each class in each frame."""

    @classmethod
    def of(cls, images_N3HW: Bytes, labels_NHW: Bytes, classes: int) -> Self:
        """Count the classes of some frames."""
        counts = [np.bincount(label_HW.ravel(), minlength=256)[:classes] for label_HW in labels_NHW]
        return cls(images_N3HW, labels_NHW, np.stack(counts))

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.labels)

    def image(self, index: int) -> Bytes:
        """Image uint8 [3,H,W]."""
        image_3HW: Bytes = self.images[index]
        return image_3HW

    def label(self, index: int) -> Bytes:
        """Label uint8 [H,W]."""
        label_HW: Bytes = self.labels[index]
        return label_HW


ArraySplit = HeldSplit | MappedSplit


def array_splits(data: DataConfig) -> dict[str, ArraySplit]:
    """Splits by name: ``train``, ``val``, and for shapes the other contexts of the evaluation scenes.

    Raises:
        DataError: missing or broken files, or a cache that cannot be written.
    """
    return _array_splits(frames_of(data))


@lru_cache(maxsize=KEPT_DATA_SETS)
def _array_splits(data: DataConfig) -> dict[str, ArraySplit]:
    match data:
        case ShapesData():
            found: dict[str, ArraySplit] = {"train": HeldSplit.of(*make_scenes(data, "train", data.rho), len(SHAPES))}
            for context in CONTEXTS:
                name = "val" if context == "aligned" else context
                found[name] = HeldSplit.of(*make_scenes(data, "val", context), len(SHAPES))
            return found
        case CamVidData() | CityscapesData() | VocData() | FolderData():
            return dict(open_cache(data).items())
        case OwnData():
            return {split: HeldSplit.of(*own_frames(data, split), len(data.classes)) for split in SPLITS}
        case _:
            assert_never(data)
