"""What a user should know of a data set that can be used: files that are not read, values that were changed.

Told once per command, never by a trial. Imports no torch.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import assert_never

import numpy as np

from trainable.configfile.mistakes import printable
from trainable.data.cache import ensure_cache, open_cache, reading
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
)
from trainable.data.layout import SPLITS, layout_notes, pairs
from trainable.data.mapped import read_remarks


def data_notes(data: DataConfig) -> tuple[str, ...]:
    """A line for everything about a data set that is easily taken for something else; builds its cache.

    Raises:
        DataError: missing or broken files, or a cache that cannot be written.
    """
    match data:
        case ShapesData() | OwnData():
            return ()
        case CamVidData() | CityscapesData() | VocData() | FolderData():
            return tuple(map(printable, (*layout_notes(data), *_remark_notes(data), *_class_notes(data))))
        case _:
            assert_never(data)


def _remark_notes(data: FileData) -> Iterator[str]:
    images = [pair.image for split in SPLITS for pair in pairs(data, split)]
    by_remark = defaultdict(list)
    with reading(ensure_cache(data)) as path:
        said = read_remarks(path)
    for image, remarks in zip(images, said, strict=True):
        for remark in remarks:
            by_remark[remark].append(image)
    for remark, concerned in by_remark.items():
        yield f"{len(concerned)} of {len(images)} images: {remark}; the first is {concerned[0]}"


def _class_notes(data: FileData) -> Iterator[str]:
    """Classes that training never sees, and what may have swallowed them."""
    classes, counts_NC = class_map(data), open_cache(data)["train"].counts
    absent = [f"{classes.names[c]} (id {classes.ids[c]})" for c in np.flatnonzero(counts_NC.sum(axis=0) == 0)]
    if absent:
        ignored = f"; ignored ids: {', '.join(map(str, sorted(classes.ignored)))}" if classes.ignored else ""
        hint = " (if one is a class, give the class that id and take it out of `ignore`)"
        yield f"no training label holds {', '.join(absent)}{ignored}{hint if isinstance(data, FolderData) else ''}"
