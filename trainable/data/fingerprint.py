"""The fingerprint of a data set: what its frames are, wherever they lie. Imports no torch.

It covers the names and sizes of all files, the bytes of the labels, the class map and the size to which frames are
resized; it leaves out the root and the augmentation. Files that are not read as 8-bit values row by row (EXIF, 16 bits,
labels by colour) say so in their line. What was read is remembered beside the cache with size and time of change, so
that asking again opens no file.
Limit: an image that is replaced by another of equal name and size in bytes goes unnoticed.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import assert_never

from trainable.data.classes import class_map
from trainable.data.config import (
    CamVidData,
    CityscapesData,
    DataConfig,
    FileData,
    FolderData,
    OwnData,
    ShapesData,
    VocData,
    frames_of,
)
from trainable.data.errors import DataError
from trainable.data.files import user_path
from trainable.data.layout import SPLITS, Pair, pairs
from trainable.data.masks import MaskReader
from trainable.data.own_data import own_fingerprint
from trainable.data.raster import orientation_of, peculiarity

DIGITS = 16
"""Hexadecimal digits of a fingerprint: 64 bits."""
FORMAT = 1
"""Raised whenever equal files give other frames or the cache another layout."""
SHAPES_FORMAT = 2
"""Raised whenever an equal section gives other scenes."""

Memory = dict[str, list[int | str]]
"""Label's path -> [sizes of label and image, times of change in ns, hash of the label, peculiarities of both]."""


def fingerprint(data: DataConfig, folder: Path) -> str:
    """Fingerprint of a data set, 16 hexadecimal digits.

    Args:
        data: the data section; what training does with the frames does not matter.
        folder: where hashes of label files are remembered.

    Raises:
        DataError: missing or unreadable files.
    """
    digest = hashlib.sha256()
    for line in _lines(data, folder):
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()[:DIGITS]


def _lines(data: DataConfig, folder: Path) -> Iterator[str]:
    classes = class_map(data)
    yield json.dumps([FORMAT, data.name, data.size, classes.names, classes.ids, sorted(classes.ignored)])
    match data:
        case ShapesData():
            yield f"{SHAPES_FORMAT} {frames_of(data).model_dump_json()}"
        case CamVidData() | CityscapesData() | VocData() | FolderData():
            yield from _file_lines(data, folder)
        case OwnData():
            yield f"{data.sha256} {json.dumps(data.settings, sort_keys=True)} {own_fingerprint(data)}"
        case _:
            assert_never(data)


def _file_lines(data: FileData, folder: Path) -> Iterator[str]:
    root, reader = user_path(data.root, "data.root"), MaskReader.of(class_map(data))
    place = os.path.realpath(root) + _colours(reader)
    memory_path = folder / f"labels-{hashlib.sha256(place.encode()).hexdigest()[:DIGITS]}.json"
    memory = _recall(memory_path)
    before = dict(memory)
    for split in SPLITS:
        yield split
        for pair in pairs(data, split):
            yield _frame_line(pair, root, memory, reader)
    if memory != before:
        _remember(memory_path, memory)


def _frame_line(pair: Pair, root: Path, memory: Memory, reader: MaskReader) -> str:
    try:
        image, label = pair.image.stat(), pair.label.stat()
        name = pair.label.relative_to(root).as_posix()
        state = [label.st_size, image.st_size, label.st_mtime_ns, image.st_mtime_ns]
        known = memory.get(f"{pair.image.suffix} {name}")
        if known is None or known[:-2] != state:
            known = memory[f"{pair.image.suffix} {name}"] = [*state, *_read(pair, reader)]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from error
    line = f"{pair.image.relative_to(root).as_posix()} {image.st_size} {name} {label.st_size} {known[-2]}"
    return f"{line} {known[-1]}" if known[-1] else line


def _read(pair: Pair, reader: MaskReader) -> tuple[str, str]:
    """Hash of a label's bytes, and what makes the frame read otherwise than as it stands."""
    content = pair.label.read_bytes()
    by_colour = _colours(reader) if reader.differs(BytesIO(content)) else ""
    turned = f"mask {orientation}" if (orientation := orientation_of(BytesIO(content))) > 1 else ""
    return _hash(content), " ".join(filter(None, (peculiarity(pair.image), turned, by_colour)))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _colours(reader: MaskReader) -> str:
    return json.dumps(sorted(reader.by_colour.items())) if reader.by_colour else ""


def _recall(path: Path) -> Memory:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):  # not there yet, or cut short: hash anew
        return {}
    return found if isinstance(found, dict) else {}


def _remember(path: Path, memory: Memory) -> None:
    """Keep the hashes, atomically; where nothing can be written they are computed again the next time."""
    partial = path.with_suffix(f".{os.geteuid()}.tmp")  # two writers at a time write the same, or what is not read back
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(memory))
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink()


def distinct(datas: Iterable[DataConfig]) -> tuple[DataConfig, ...]:
    """The data sections that differ in more than what training does with the frames, without that."""
    return tuple(dict.fromkeys(map(frames_of, datas)))
