"""Where the frames of a data set lie on disk. Imports no torch and decodes nothing: checking a data set is fast."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

from pydantic import ValidationError

from trainable.configfile.mistakes import Mistake
from trainable.configfile.node import Node, child_of, has_broken, plain
from trainable.data.config import (
    CamVidData,
    CityscapesData,
    DataConfig,
    FileData,
    FolderData,
    ShapesData,
    VocData,
    read_data,
)
from trainable.data.errors import DataError as DataError
from trainable.data.folder_classes import FILE as CLASSES_FILE
from trainable.data.folder_classes import read_classes

Split = Literal["train", "val"]

SPLITS: tuple[Split, ...] = ("train", "val")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Pair:
    """Files of one frame."""

    image: Path
    label: Path


def pairs(data: FileData, split: Split) -> tuple[Pair, ...]:
    """Frames of a split, sorted by the image's path; lists of names keep their order.

    Raises:
        DataError: a missing or unreadable folder, an empty split, an image without its label.
    """
    root = Path(data.root).expanduser()
    if not root.is_dir():
        raise DataError(f"no folder {data.root}; it must hold {_contents(data)}", "data.root")
    match data:
        case CamVidData():
            return _camvid_pairs(root, split if split == "train" else data.eval_split)
        case CityscapesData():
            coarse = _cityscapes_pairs(root, "gtCoarse", "train_extra") if data.coarse and split == "train" else ()
            return _cityscapes_pairs(root, "gtFine", split) + coarse
        case VocData():
            return _voc_pairs(root, split, data.train_aug)
        case FolderData():
            return _folder_pairs(root, split)
        case _:
            assert_never(data)


def labelled_test_split(data: DataConfig) -> DataConfig | None:
    """The data section whose evaluation split is the labelled test split, where ``data`` is scored on another one.

    None where the data set has no labelled test split, or is scored on it already.
    """
    match data:
        case CamVidData():
            return data.model_copy(update={"eval_split": "test"}) if data.eval_split == "val" else None
        case ShapesData() | CityscapesData() | VocData() | FolderData():  # no test split, or labels that nobody has
            return None
        case _:
            assert_never(data)


def check_data(data: DataConfig) -> None:
    """Check that both splits of the data set are there and complete, without decoding a file.

    Raises:
        DataError: the first thing that is missing.
    """
    if not isinstance(data, ShapesData):
        _check_splits(data)
    if isinstance(data, FolderData):
        read_classes(Path(data.root).expanduser())


def data_mistakes(root: Node) -> list[Mistake]:
    """What is wrong with the data set that a configuration names; nothing where its section is told to be wrong."""
    data = child_of(root, "data")
    if data is None or has_broken(data):
        return []
    try:
        check_data(read_data(plain(data)))
    except DataError as error:
        return error.mistakes(root)
    except ValidationError:
        pass
    return []


def _check_splits(data: FileData) -> None:
    train, val = pairs(data, "train"), pairs(data, "val")
    both = {pair.image for pair in train} & {pair.image for pair in val}
    if both:
        raise DataError(f"{min(both)} is in both splits; scores on training images say nothing", "data.root")


def _contents(data: FileData) -> str:
    match data:
        case CamVidData():
            return "train/, trainannot/, val/ and valannot/ (CamVid as the SegNet tutorial distributes it)"
        case CityscapesData():
            return "leftImg8bit/{train,val}/ and gtFine/{train,val}/ (the official Cityscapes layout)"
        case VocData():
            return "JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/ (the devkit's VOC2012)"
        case FolderData():
            return f"images/, masks/ and {CLASSES_FILE}"
        case _:
            assert_never(data)


def _camvid_pairs(root: Path, split: str) -> tuple[Pair, ...]:
    """``<split>/NAME.png`` with ``<split>annot/NAME.png``."""
    images, labels = _folder(root / split), _folder(root / f"{split}annot")
    frames = [Pair(path, labels / path.name) for path in sorted(images.glob("*.png"))]
    return _complete(frames, f"{images} holds no *.png")


def _cityscapes_pairs(root: Path, labelling: str, split: str) -> tuple[Pair, ...]:
    """``leftImg8bit/<split>/CITY/FRAME_leftImg8bit.png`` with ``gtFine/<split>/CITY/FRAME_gtFine_labelIds.png``."""
    images, labels = _folder(root / "leftImg8bit" / split), _folder(root / labelling / split)
    suffix = "_leftImg8bit.png"
    frames = [
        Pair(path, labels / path.parent.name / f"{path.name.removesuffix(suffix)}_{labelling}_labelIds.png")
        for city in sorted(images.iterdir())
        if city.is_dir()
        for path in sorted(_folder(city).glob(f"*{suffix}"))
    ]
    return _complete(frames, f"{images} holds no CITY/*{suffix}")


def _voc_pairs(root: Path, split: Split, train_aug: bool) -> tuple[Pair, ...]:
    """Frames of ``ImageSets/Segmentation/<split>.txt``; for training of ``train_aug.txt`` where it is present.

    SBD's lists come as names or as ``/JPEGImages/NAME.jpg /SegmentationClassAug/NAME.png``.
    """
    inside = [root / "VOCdevkit" / "VOC2012", root / "VOC2012"]
    root = next((path for path in inside if path.is_dir()), root)
    lists = _folder(root / "ImageSets" / "Segmentation")
    augmented = lists / "train_aug.txt"
    use_augmented = split == "train" and train_aug and augmented.is_file()
    names = augmented if use_augmented else lists / f"{split}.txt"
    images = _folder(root / "JPEGImages")
    plain = not (use_augmented and (root / "SegmentationClassAug").is_dir())
    labels = _folder(root / ("SegmentationClass" if plain else "SegmentationClassAug"))
    frames = []
    for line in _lines(names):
        image, _, label = line.partition(" ")
        listed = Pair(root / image.lstrip("/"), root / label.strip().lstrip("/"))
        frames.append(listed if label else Pair(images / f"{image}.jpg", labels / f"{image}.png"))
        if not frames[-1].image.is_file():
            raise DataError(f"{names} names {image}, but there is no {frames[-1].image}", "data.root")
    return _complete(frames, f"{names} lists no frame")


def _folder_pairs(root: Path, split: Split) -> tuple[Pair, ...]:
    """``images/<split>/NAME.png|jpg`` with ``masks/<split>/NAME.png``, folders within them kept.

    Or, where ``<split>.txt`` is present, the frames it names: ``images/NAME.png|jpg`` with ``masks/NAME.png``.
    """
    images, masks, names = root / "images", root / "masks", root / f"{split}.txt"
    if names.is_file():
        _folder(masks)
        by_name = {_stem(path, images): path for path in _images(_folder(images))}
        unknown = [name for name in _lines(names) if name not in by_name]
        if unknown:
            wanted = images / unknown[0]
            raise DataError(f"{names} names {unknown[0]}, but there is no {wanted}.png or .jpg", "data.root")
        frames = [Pair(by_name[name], masks / f"{name}.png") for name in _lines(names)]
        return _complete(frames, f"{names} lists no frame")
    images, masks = _folder(images / split), _folder(masks / split)
    frames = [Pair(path, masks / f"{_stem(path, images)}.png") for path in _images(images)]
    return _complete(frames, f"{images} holds no image ({', '.join(IMAGE_SUFFIXES)})")


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)


def _stem(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise DataError(f"{path}: cannot be read ({reason})", "data.root") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise DataError(f"no folder {path}; data.root must be the folder that holds it", "data.root")
    try:
        os.scandir(path).close()
    except OSError as error:  # a glob would pass over it in silence
        raise DataError(f"{path}: cannot be read ({error.strerror})", "data.root") from error
    return path


def _complete(frames: Sequence[Pair], empty: str) -> tuple[Pair, ...]:
    if not frames:
        raise DataError(empty, "data.root")
    missing = [pair for pair in frames if not pair.label.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(frames)} images have no label; "
            f"the first is {missing[0].image.name}, expected at {missing[0].label}",
            "data.root",
        )
    return tuple(frames)
