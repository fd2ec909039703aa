"""Decode one frame from PNG: resized image, and label as train ids.

Images are resized bilinearly (PIL's, which averages over the support when it shrinks), labels by nearest neighbour.
Shapes: H W the configured size.
"""

from typing import assert_never

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainable.data.classes import CAMVID, IGNORE_INDEX
from trainable.data.config import CamVidData, CityscapesData, Size
from trainable.data.layout import DataError, Pair

Bytes = npt.NDArray[np.uint8]

CITYSCAPES_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The label id of each train id, 0..18 (Cordts et al. 2016, ``cityscapesScripts/helpers/labels.py``)."""


def train_ids(data: CamVidData | CityscapesData) -> Bytes:
    """Table [256] from the ids in the label files to train ids; every other id is ignored."""
    table = np.full(256, IGNORE_INDEX, dtype=np.uint8)
    match data:
        case CamVidData():
            table[: len(CAMVID)] = np.arange(len(CAMVID))
        case CityscapesData():
            table[list(CITYSCAPES_LABEL_IDS)] = np.arange(len(CITYSCAPES_LABEL_IDS))
        case _:
            assert_never(data)
    return table


def decode_pair(pair: Pair, size: Size, table: Bytes) -> tuple[Bytes, Bytes]:
    """Image [3,H,W] and label [H,W], uint8.

    Raises:
        DataError: a file that is no image, a label with several channels, sizes that differ.
    """
    image, label = _open(pair.image).convert("RGB"), _open(pair.label)
    if image.size != label.size:
        raise DataError(f"{pair.label}: size {label.size} differs from its image's {image.size}")
    height, width = size
    pixels_HW3 = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(pixels_HW3.transpose(2, 0, 1)), _ids(label, pair, size, table)


def decode_label(pair: Pair, size: Size, table: Bytes) -> Bytes:
    """Label [H,W] alone, uint8; raises as ``decode_pair``."""
    return _ids(_open(pair.label), pair, size, table)


def _ids(label: Image.Image, pair: Pair, size: Size, table: Bytes) -> Bytes:
    if label.mode not in ("L", "P"):
        raise DataError(f"{pair.label}: mode {label.mode}; a label holds one class id per pixel (mode L or P)")
    height, width = size
    ids_HW: Bytes = table[np.asarray(label.resize((width, height), Image.Resampling.NEAREST))]
    return ids_HW


def _open(path: object) -> Image.Image:
    try:
        image = Image.open(str(path))
        image.load()
    except OSError as error:
        raise DataError(f"{path}: cannot be decoded ({error})") from error
    return image
