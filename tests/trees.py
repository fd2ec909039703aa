"""Small data sets on disk, in the layouts as they are downloaded."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from trainable.data.classes import voc_colour
from trainable.data.config import CamVidData, CityscapesData, FolderData, VocData

CLASSES_YAML = """
classes:
  - {name: ground, id: 10, colour: [10, 20, 30]}
  - {name: thing, id: 200}
ignore: [0, 255]
"""


def png(path: Path, array: np.ndarray, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array.astype(np.uint8))
    if palette:
        image = Image.fromarray(array.astype(np.uint8), mode="P")
        image.putpalette([channel for index in range(256) for channel in voc_colour(index)])
    image.save(path)


def picture(rng: np.random.Generator, height: int = 32, width: int = 64) -> np.ndarray:
    return rng.integers(0, 255, (height, width, 3))


def camvid_tree(root: Path, frames: int = 2) -> CamVidData:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for index in range(frames):
            png(root / split / f"{index:03}.png", picture(rng))
            png(root / f"{split}annot" / f"{index:03}.png", rng.integers(0, 12, (32, 64)))
    return CamVidData(name="camvid", root=str(root), size=(32, 64))


def cityscapes_tree(root: Path) -> CityscapesData:
    rng = np.random.default_rng(0)
    for split, city in (("train", "aachen"), ("train", "ulm"), ("val", "bonn")):
        png(root / f"leftImg8bit/{split}/{city}/{city}_0_1_leftImg8bit.png", picture(rng))
        png(root / f"gtFine/{split}/{city}/{city}_0_1_gtFine_labelIds.png", np.full((32, 64), 26))
    return CityscapesData(name="cityscapes", root=str(root), size=(32, 64))


def voc_tree(root: Path) -> VocData:
    """Frames of two shapes, with palette labels; ``c`` has a label of SBD alone."""
    rng = np.random.default_rng(0)
    voc = root / "VOCdevkit" / "VOC2012"
    for name, (height, width) in {"a": (48, 64), "b": (64, 40), "c": (32, 32), "v": (50, 50)}.items():
        picture_file = voc / "JPEGImages" / f"{name}.jpg"
        picture_file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(rng, height, width).astype(np.uint8)).save(picture_file)
        label = rng.choice([0, 1, 15, 20, 255], (height, width))
        png(voc / "SegmentationClassAug" / f"{name}.png", label)
        if name != "c":
            png(voc / "SegmentationClass" / f"{name}.png", label, palette=True)
    lists = voc / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nb\n")
    (lists / "val.txt").write_text("v\n")
    return VocData(name="voc", root=str(root), size=(64, 64))


def folder_tree(root: Path) -> FolderData:
    rng = np.random.default_rng(0)
    for split, name in (("train", "a"), ("train", "deep/b"), ("val", "c")):
        png(root / "images" / split / f"{name}.png", picture(rng))
        png(root / "masks" / split / f"{name}.png", rng.choice([0, 10, 200, 255], (32, 64)))
    (root / "classes.yaml").write_text(CLASSES_YAML)
    return FolderData(name="folder", root=str(root), size=(32, 64))


def raw_png(path: Path, array: np.ndarray, depth: int, colour_type: int) -> None:
    """A PNG of a bit depth that Pillow does not write."""
    rows = [array[y].astype(">u2").tobytes() if depth == 16 else _packed(array[y], depth) for y in range(len(array))]
    header = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], depth, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def _packed(row: np.ndarray, depth: int) -> bytes:
    bits = "".join(format(value, f"0{depth}b") for value in row)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[index : index + 8], 2) for index in range(0, len(bits), 8))


def raw_tiff(path: Path, array: np.ndarray, photometric: int = 1, planes: bool = False) -> None:
    """An uncompressed TIFF of any type of numbers, little-endian; ``photometric`` 0 begins at white, 1 at black."""
    height, width, channels = (*array.shape, 1)[:3]
    data = np.moveaxis(array, -1, 0).tobytes() if planes else array.tobytes()
    bits = array.dtype.itemsize * 8
    strips = channels if planes else 1
    tags = {
        256: (width,), 257: (height,), 258: (bits,) * channels, 259: (1,), 262: (photometric,), 273: (0,) * strips,
        277: (channels,), 278: (height,), 279: (len(data) // strips,) * strips, 284: (2 if planes else 1,),
        339: ({"u": 1, "i": 2, "f": 3}[array.dtype.kind],) * channels,
    }  # fmt: skip
    begin = 8 + 2 + 12 * len(tags) + 4
    values_begin = begin + 4 * sum(len(values) for values in tags.values() if len(values) > 1)
    tags[273] = tuple(values_begin + strip * (len(data) // strips) for strip in range(strips))
    entries, more = b"", b""
    for tag, values in tags.items():
        packed = struct.pack(f"<{len(values)}I", *values)
        entries += struct.pack("<HHI", tag, 4, len(values))
        entries += packed if len(values) == 1 else struct.pack("<I", begin + len(more))
        more += packed if len(values) > 1 else b""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0" + more + data)


def own_tree(root: Path, classes: str = CLASSES_YAML) -> FolderData:
    """A folder data set of one frame for validation; training is left to the test. Masks hold 10 and 200."""
    png(root / "images/val/v.png", picture(np.random.default_rng(1)))
    png(root / "masks/val/v.png", np.tile([10, 200], (32, 32)))
    (root / "classes.yaml").write_text(classes)
    return FolderData(name="folder", root=str(root), size=(32, 64))
