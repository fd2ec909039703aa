"""Where the frames of a data set lie on disk. Imports no torch and decodes nothing: checking a data set is fast."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, assert_never

from pydantic import ValidationError

from trainable.configfile.mistakes import Mistake, is_utf8
from trainable.configfile.node import Node, child_of, has_broken, plain
from trainable.data.config import (
    CamVidData,
    CityscapesData,
    DataConfig,
    FileData,
    FolderData,
    OwnData,
    ShapesData,
    VocData,
    read_data,
)
from trainable.data.errors import DataError as DataError
from trainable.data.files import (
    IMAGE_SUFFIXES,
    Names,
    check_file,
    files_below,
    folder,
    identity,
    lines,
    refusals,
    stored,
    user_path,
)
from trainable.data.folder_classes import FILE as CLASSES_FILE
from trainable.data.folder_classes import read_classes
from trainable.data.folder_lists import named_images, unread_lists
from trainable.data.listing import Listing, complete, some
from trainable.data.listing import Pair as Pair

Split = Literal["train", "val"]

SPLITS: tuple[Split, ...] = ("train", "val")
SBD_LISTS = ("train_aug.txt", "trainaug.txt")
"""The list of SBD's frames goes by both names."""
SBD_LABELS = "SegmentationClassAug"


def pairs(data: FileData, split: Split) -> tuple[Pair, ...]:
    """Frames of a split, sorted by the image's path; lists of names keep their order.

    Raises:
        DataError: a missing or unreadable folder, an empty split, an image without its label.
    """
    return _listing(data, split).pairs


def layout_notes(data: FileData) -> tuple[str, ...]:
    """What a data set's folder holds and nobody reads, a line each; raises as ``pairs``."""
    with refusals():
        listings = [_listing(data, split) for split in SPLITS]
        return tuple(note for listing in listings for note in (*listing.notes, *listing.passed_over()))


def _listing(data: FileData, split: Split) -> Listing:
    root = user_path(data.root, "data.root")
    with refusals():
        if not root.is_dir():
            raise DataError(f"no folder {data.root}; it must hold {_contents(data)}", "data.root")
        listing = _listing_in(data, root, split)
    for pair in listing.pairs:
        if not is_utf8(str(pair.image)):
            raise DataError(f"{pair.image}: the name is not UTF-8; rename it", "data.root")
    return listing


def _listing_in(data: FileData, root: Path, split: Split) -> Listing:
    match data:
        case CamVidData():
            return _camvid(root, split if split == "train" else data.eval_split)
        case CityscapesData():
            fine = _cityscapes(root, "gtFine", split)
            if not data.coarse or split != "train":
                return fine
            coarse = _cityscapes(root, "gtCoarse", "train_extra")
            return Listing(fine.pairs + coarse.pairs, searched=fine.searched + coarse.searched)
        case VocData():
            return _voc(root, split, data.train_aug)
        case FolderData():
            return _folder(root, split)
        case _:
            assert_never(data)


def labelled_test_split(data: DataConfig) -> DataConfig | None:
    """The data section whose evaluation split is the labelled test split, where ``data`` is scored on another one.

    None where the data set has no labelled test split, or is scored on it already.
    """
    match data:
        case CamVidData():
            return data.model_copy(update={"eval_split": "test"}) if data.eval_split == "val" else None
        case (
            ShapesData() | CityscapesData() | VocData() | FolderData() | OwnData()
        ):  # no test split, or labels that nobody has
            return None
        case _:
            assert_never(data)


def check_data(data: DataConfig) -> None:
    """Check that both splits of the data set are there and complete, without decoding a file.

    Raises:
        DataError: the first thing that is missing.
    """
    if isinstance(data, ShapesData | OwnData):
        return
    with refusals():
        train, val = ({identity(pair.image): pair.image for pair in pairs(data, split)} for split in SPLITS)
    both = [(path, val[file]) for file, path in train.items() if file in val]
    if both:
        path, other = min(both)
        name = "" if path.name == other.name else f" (in val as {other.name})"
        raise DataError(f"{path} is in both splits{name}; scores on training images say nothing", "data.root")


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


def _camvid(root: Path, split: str) -> Listing:
    """``<split>/NAME.png`` with ``<split>annot/NAME.png``."""
    images, labels = folder(root / split), folder(root / f"{split}annot")
    paths = [path for path in files_below(images).paths if path.parent == images and path.suffix == ".png"]
    frames = complete([Pair(path, labels / path.name) for path in paths], f"{images} holds no *.png")
    return Listing(frames, searched=_searched(images, "*.png", labels, ""))


def _cityscapes(root: Path, labelling: str, split: str) -> Listing:
    """``leftImg8bit/<split>/CITY/FRAME_leftImg8bit.png`` with ``gtFine/<split>/CITY/FRAME_gtFine_labelIds.png``."""
    images, labels = folder(root / "leftImg8bit" / split), folder(root / labelling / split)
    suffix, label_suffix = "_leftImg8bit.png", f"_{labelling}_labelIds.png"
    frames = [
        Pair(path, labels / path.parent.name / f"{path.name.removesuffix(suffix)}{label_suffix}")
        for path in files_below(images).paths
        if path.name.endswith(suffix) and path.parent.parent == images
    ]
    searched = _searched(images, f"CITY/*{suffix}", labels, label_suffix)
    return Listing(complete(frames, f"{images} holds no CITY/*{suffix}"), searched=searched)


def _voc(root: Path, split: Split, train_aug: bool) -> Listing:
    """Frames of ``ImageSets/Segmentation/<split>.txt``; for training of SBD's list where it is present.

    SBD's lists come as names or as ``/JPEGImages/NAME.jpg /SegmentationClassAug/NAME.png``.
    """
    inside = [root / "VOCdevkit" / "VOC2012", root / "VOC2012"]
    root = next((path for path in inside if path.is_dir()), root)
    lists = folder(root / "ImageSets" / "Segmentation")
    wanted = split == "train" and train_aug
    augmented = next((lists / name for name in SBD_LISTS if wanted and (lists / name).is_file()), None)
    names, has_sbd = augmented or lists / f"{split}.txt", (root / SBD_LABELS).is_dir()
    images = folder(root / "JPEGImages")
    labels = folder(root / (SBD_LABELS if augmented and has_sbd else "SegmentationClass"))
    frames: list[Pair] = []
    known: Names = {}
    for line in lines(names):
        image, *label = line.split(maxsplit=1)
        stem = image if (images / f"{image}.jpg").is_file() else Path(image).stem
        listed = Pair(root / image.lstrip("/"), root / label[0].lstrip("/")) if label else None
        frames.append(listed or Pair(stored(images / f"{stem}.jpg", known), labels / f"{stem}.png"))
        check_file(frames[-1].image, "a picture")
        if not frames[-1].image.is_file():
            raise DataError(f"{names} names {image}, but there is no {frames[-1].image}", "data.root")
    unused = f"{root / SBD_LABELS} is not used: {lists} holds neither of {', '.join(SBD_LISTS)}"
    notes = [unused] if wanted and has_sbd and augmented is None else []
    return Listing(complete(frames, f"{names} lists no frame"), (*notes, *_repeated(names, frames)))


def _folder(root: Path, split: Split) -> Listing:
    """``images/<split>/NAME.png`` with ``masks/<split>/NAME.png``, folders within them kept.

    Or, where ``<split>.txt`` is present, the frames it names: ``images/NAME.png`` with ``masks/NAME.png``. ``mask`` of
    ``classes.yaml`` is the pattern of a mask's name.
    """
    images, masks, names = root / "images", root / "masks", root / f"{split}.txt"
    pattern = read_classes(root).mask
    check_file(names, "a list")
    if names.is_file():
        folder(masks)
        frames = [Pair(path, masks / _mask(path, images, pattern)) for path in named_images(names, folder(images))]
        return Listing(complete(frames, f"{names} lists no frame", pattern), _repeated(names, frames))
    for other in SPLITS:
        if (root / f"{other}.txt").is_file():
            present = f"{root / other}.txt is there"
            raise DataError(f"{present}, but no {names.name}; write both lists, or neither", "data.root")
    notes = list(unread_lists(root, split))
    images, masks = folder(images / split), folder(masks / split)
    frames = [Pair(path, masks / _mask(path, images, pattern)) for path in files_below(images).images]
    types = ", ".join(IMAGE_SUFFIXES)
    complete_frames = complete(frames, f"{images} holds no image ({types})", pattern)
    several = sorted(label for label, count in Counter(pair.label for pair in complete_frames).items() if count > 1)
    note = f"{masks}: {len(several)} are the mask of several images, each a frame: {some(several, masks)}"
    notes += [note] if several else []
    searched = _searched(images, types, masks, pattern.rpartition("}")[2])
    return Listing(complete_frames, tuple(notes), searched)


def _mask(image: Path, images: Path, pattern: str) -> Path:
    relative = image.relative_to(images)
    return relative.with_name(pattern.replace("{name}", relative.stem))


def _searched(images: Path, read: str, labels: Path, ending: str) -> tuple[tuple[Path, str, str], ...]:
    return (images, "", f"not read (images are {read})"), (labels, ending, "without an image")


def _repeated(names: Path, frames: Sequence[Pair]) -> tuple[str, ...]:
    twice = [pair.image for pair, count in Counter(frames).items() if count > 1]
    return (f"{names}: {len(twice)} frames stand there more than once: {some(twice, names.parent)}",) if twice else ()
