"""Decode one frame from its files: resized image, and label as train ids. Imports no torch.

Images are resized bilinearly (PIL's, which averages over the support when it shrinks), labels by nearest neighbour.
Data sets of many shapes keep their aspect: the frame is scaled to fit and padded at the right and the bottom.
Shapes: H W the configured size.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self, assert_never

import numpy as np
from PIL import Image

from trainable.data.classes import IGNORE_INDEX, class_map
from trainable.data.config import (
    CamVidData,
    CityscapesData,
    DataConfig,
    FileData,
    FolderData,
    OwnData,
    ShapesData,
    Size,
    VocData,
)
from trainable.data.errors import DataError
from trainable.data.layout import Pair
from trainable.data.masks import MaskReader, Palette
from trainable.data.raster import Bytes as Bytes
from trainable.data.raster import open_raster, rgb

PADDING_COLOUR = (124, 116, 104)
"""ImageNet's mean colour, zero after normalisation: what is shown beyond a frame."""
FROM_WHITE = (
    "their masks are TIFFs whose values begin at white (ids are values as they stand, not as viewers show them)"
)
TURNED_MASK = "their masks are turned upright, as the EXIF orientations of the masks say"


class Frame(NamedTuple):
    """A decoded frame, and what is said of its files."""

    image: Bytes
    """[3,H,W]."""
    label: Bytes
    """[H,W]."""
    remarks: tuple[str, ...]
    """What was done to the image that one may want to know."""
    palette: Palette
    """Colours of label indices, which must be the same in every file."""


@dataclass(frozen=True)
class Decoder:
    """How the files of a data set become frames."""

    size: Size
    keep_aspect: bool
    max_megapixels: int
    masks: MaskReader

    @classmethod
    def of(cls, data: FileData) -> Self:
        """The decoder of a data set; raises ``DataError`` for a broken ``classes.yaml``."""
        return cls(data.size, _keeps_aspect(data), data.max_megapixels, MaskReader.of(class_map(data)))

    def decode(self, pair: Pair) -> tuple[Bytes, Bytes]:
        """Image [3,H,W] and label [H,W], uint8; raises as ``frame``."""
        return self.frame(pair)[:2]

    def frame(self, pair: Pair) -> Frame:
        """Decode a frame.

        Raises:
            DataError: a file that is no image, a label with several channels or an unknown id, sizes that differ.
        """
        raster, mask = open_raster(pair.image, self.max_megapixels), self.masks.read(pair.label, self.max_megapixels)
        image, remarks = rgb(pair.image, raster)
        said = {TURNED_MASK: mask.raster.orientation > 1, FROM_WHITE: mask.raster.from_white}
        remarks = (*remarks, *(remark for remark, applies in said.items() if applies))
        if raster.image.size != mask.indices.size:
            pixels = "" if mask.raster.orientation > 1 else " pixels"
            size = f"{mask.raster.size}{pixels}"
            raise DataError(f"{pair.label}: {size}, but its image {pair.image.name} has {raster.size}")
        image_3HW, (height, width) = fitted_image(image, self.size, keep_aspect=self.keep_aspect)
        ids_hw = mask.table[np.asarray(mask.indices.resize((width, height), Image.Resampling.NEAREST))]
        label_HW = np.full(self.size, IGNORE_INDEX, dtype=np.uint8)
        label_HW[:height, :width] = ids_hw
        return Frame(image_3HW, label_HW, remarks, mask.palette)


def fitted_image(image: Image.Image, size: Size, *, keep_aspect: bool) -> tuple[Bytes, Size]:
    """An RGB picture as the network sees it.

    Args:
        image: The picture, upright.
        size: (height, width) of the network's frames.
        keep_aspect: Whether it keeps its aspect, padded at the right and the bottom.

    Returns:
        The frame [3,H,W], and the (height, width) of the picture in it, from the upper left corner.
    """
    height, width = _fitted(image.height, image.width, size) if keep_aspect else size
    pixels_hw3 = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    image_3HW = np.empty((3, *size), dtype=np.uint8)
    image_3HW[:] = np.array(PADDING_COLOUR, dtype=np.uint8)[:, None, None]
    image_3HW[:, :height, :width] = pixels_hw3.transpose(2, 0, 1)
    return image_3HW, (height, width)


def _fitted(height: int, width: int, size: Size) -> Size:
    """(height, width) to which a frame is scaled to fit."""
    scale = min(size[0] / height, size[1] / width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def keeps_aspect(data: DataConfig) -> bool:
    """Whether the frames of a data set are padded, not stretched; scenes made in memory have one shape."""
    return isinstance(data, ShapesData | OwnData) or _keeps_aspect(data)


def _keeps_aspect(data: FileData) -> bool:
    match data:
        case CamVidData() | CityscapesData():  # all frames of one shape: no pixel is lost to padding
            return False
        case VocData() | FolderData():
            return True
        case _:
            assert_never(data)
