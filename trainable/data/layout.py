"""Where the frames of a data set lie on disk. Imports no torch and decodes nothing: checking a data set is fast."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

from trainable.data.config import CamVidData, CityscapesData, DataConfig, ShapesData

Split = Literal["train", "val"]


class DataError(ValueError):
    """The data set is missing, incomplete or broken: one line that says what, and what would be right."""


@dataclass(frozen=True)
class Pair:
    """Files of one frame."""

    image: Path
    label: Path


def pairs(data: CamVidData | CityscapesData, split: Split) -> tuple[Pair, ...]:
    """Frames of a split, sorted by the image's path.

    Raises:
        DataError: a missing folder, an empty split, an image without its label.
    """
    root = Path(data.root).expanduser()
    if not root.is_dir():
        raise DataError(f"data.root: no folder {data.root}; it must hold {_contents(data)}")
    match data:
        case CamVidData():
            return _camvid_pairs(root, split)
        case CityscapesData():
            return _cityscapes_pairs(root, split)
        case _:
            assert_never(data)


def check_data(data: DataConfig) -> None:
    """Check that both splits of the data set are there and complete, without decoding a file.

    Raises:
        DataError: the first thing that is missing.
    """
    match data:
        case ShapesData():
            return
        case CamVidData() | CityscapesData():
            pairs(data, "train")
            pairs(data, "val")
        case _:
            assert_never(data)


def _contents(data: CamVidData | CityscapesData) -> str:
    match data:
        case CamVidData():
            return "train/, trainannot/, val/ and valannot/ (CamVid as the SegNet tutorial distributes it)"
        case CityscapesData():
            return "leftImg8bit/{train,val}/ and gtFine/{train,val}/ (the official Cityscapes layout)"
        case _:
            assert_never(data)


def _camvid_pairs(root: Path, split: Split) -> tuple[Pair, ...]:
    """``<split>/NAME.png`` with ``<split>annot/NAME.png``."""
    images, labels = _folder(root / split), _folder(root / f"{split}annot")
    found = tuple(Pair(path, labels / path.name) for path in sorted(images.glob("*.png")))
    return _complete(found, f"{images} holds no *.png")


def _cityscapes_pairs(root: Path, split: Split) -> tuple[Pair, ...]:
    """``leftImg8bit/<split>/CITY/FRAME_leftImg8bit.png`` with ``gtFine/<split>/CITY/FRAME_gtFine_labelIds.png``."""
    images, labels = _folder(root / "leftImg8bit" / split), _folder(root / "gtFine" / split)
    suffix = "_leftImg8bit.png"
    found = tuple(
        Pair(path, labels / path.parent.name / f"{path.name.removesuffix(suffix)}_gtFine_labelIds.png")
        for path in sorted(images.glob(f"*/*{suffix}"))
    )
    return _complete(found, f"{images} holds no CITY/*{suffix}")


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise DataError(f"data.root: no folder {path}; data.root must be the folder that holds it")
    return path


def _complete(found: tuple[Pair, ...], empty: str) -> tuple[Pair, ...]:
    if not found:
        raise DataError(f"data.root: {empty}")
    missing = [pair for pair in found if not pair.label.is_file()]
    if missing:
        raise DataError(
            f"data.root: {len(missing)} of {len(found)} images have no label; "
            f"the first is {missing[0].image.name}, expected at {missing[0].label}"
        )
    return found
