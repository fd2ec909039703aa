"""Decode one frame from its files: resized image, and label as train ids. Imports no torch.

Images are resized bilinearly (PIL's, which averages over the support when it shrinks), labels by nearest neighbour.
Data sets of many shapes keep their aspect: the frame is scaled to fit and padded at the right and the bottom.
Shapes: H W the configured size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self, assert_never

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainable.data.classes import IGNORE_INDEX, class_map
from trainable.data.config import CamVidData, CityscapesData, FileData, FolderData, Size, VocData
from trainable.data.errors import DataError
from trainable.data.layout import Pair

Bytes = npt.NDArray[np.uint8]

PADDING_COLOUR = (124, 116, 104)
"""ImageNet's mean colour, zero after normalisation: what is shown beyond a frame."""


@dataclass(frozen=True)
class Decoder:
    """How the files of a data set become frames."""

    size: Size
    keep_aspect: bool
    table: Bytes
    """[256], from the ids in the label files to train ids; ignored and unknown ids to ``IGNORE_INDEX``."""
    known: npt.NDArray[np.bool_]
    """[256], the ids that may occur."""

    @classmethod
    def of(cls, data: FileData) -> Self:
        """The decoder of a data set; raises ``DataError`` for a broken ``classes.yaml``."""
        classes = class_map(data)
        table = np.full(256, IGNORE_INDEX, dtype=np.uint8)
        table[list(classes.ids)] = np.arange(len(classes.ids))
        known = np.zeros(256, dtype=np.bool_)
        known[[*classes.ids, *classes.ignored]] = True
        return cls(data.size, _keeps_aspect(data), table, known)

    def decode(self, pair: Pair) -> tuple[Bytes, Bytes]:
        """Image [3,H,W] and label [H,W], uint8.

        Raises:
            DataError: a file that is no image, a label with several channels or an unknown id, sizes that differ.
        """
        image, label = _open(pair.image, _rgb), _open(pair.label, _same)
        self._check(pair, image, label)
        height, width = self._fitted(image.height, image.width)
        pixels_hw3 = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
        ids_hw = self.table[np.asarray(label.resize((width, height), Image.Resampling.NEAREST))]
        image_3HW = np.empty((3, *self.size), dtype=np.uint8)
        image_3HW[:] = np.array(PADDING_COLOUR, dtype=np.uint8)[:, None, None]
        image_3HW[:, :height, :width] = pixels_hw3.transpose(2, 0, 1)
        label_HW = np.full(self.size, IGNORE_INDEX, dtype=np.uint8)
        label_HW[:height, :width] = ids_hw
        return image_3HW, label_HW

    def _check(self, pair: Pair, image: Image.Image, label: Image.Image) -> None:
        if label.mode not in ("L", "P"):
            raise DataError(f"{pair.label}: mode {label.mode}; a label holds one class id per pixel (mode L or P)")
        if image.size != label.size:
            raise DataError(
                f"{pair.label}: {label.width}x{label.height} pixels, but its image {pair.image.name} has "
                f"{image.width}x{image.height}"
            )
        counts = np.bincount(np.asarray(label).ravel(), minlength=256)
        unknown = np.flatnonzero((counts > 0) & ~self.known)
        if len(unknown):
            raise DataError(
                f"{pair.label}: label id {unknown[0]} ({counts[unknown[0]]} pixels) is neither a class nor ignored"
            )

    def _fitted(self, height: int, width: int) -> Size:
        """(height, width) to which a frame is scaled."""
        if not self.keep_aspect:
            return self.size
        scale = min(self.size[0] / height, self.size[1] / width)
        return max(1, round(height * scale)), max(1, round(width * scale))


def _keeps_aspect(data: FileData) -> bool:
    match data:
        case CamVidData() | CityscapesData():  # all frames of one shape: no pixel is lost to padding
            return False
        case VocData() | FolderData():
            return True
        case _:
            assert_never(data)


def _rgb(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def _same(image: Image.Image) -> Image.Image:
    return image


def _open(path: Path, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return convert(image)
    except Exception as error:  # broken bytes lead Pillow to a SyntaxError, a zlib.error, a ValueError, ...
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be decoded ({reason})") from error
