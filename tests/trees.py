"""Small data sets on disk, in the layouts as they are downloaded."""

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
