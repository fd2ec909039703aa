"""The frames of a data set of one's own: its code is called, what it gives is checked, and kept in memory.

Imports no torch.
Shapes: N frames of a split, C classes, H W the configured size.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from trainable.data.classes import IGNORE_INDEX
from trainable.data.config import MOST_SCENE_BYTES, OwnData
from trainable.data.decode import Bytes
from trainable.data.errors import DataError
from trainable.data.layout import Split
from trainable.parts.data import DataSet
from trainable.parts.loading import PartFailed, build, own_code


def own_frames(data: OwnData, split: Split, most: int | None = None) -> tuple[Bytes, Bytes]:
    """Images [N,3,H,W] and labels [N,H,W] of a split, or of its first ``most`` frames.

    Raises:
        DataError: the class cannot be used, or gives something else.
    """
    with _as_data_errors():
        part, count = _opened(data, split)
        chosen = count if most is None else min(most, count)
        frames = [checked_frame(part, data, split, index) for index in range(chosen)]
        images, labels = zip(*frames, strict=True)
        return np.stack(images), np.stack(labels)


def own_count(data: OwnData, split: Split) -> int:
    """Frames of a split; raises as `own_frames`."""
    with _as_data_errors():
        return _opened(data, split)[1]


def own_fingerprint(data: OwnData) -> str:
    """What the class says of its files; raises as `own_frames`."""
    with _as_data_errors():
        part: DataSet = build(data, DataSet)
        with own_code(data.name):
            return str(part.fingerprint())


def _opened(data: OwnData, split: Split) -> tuple[DataSet, int]:
    part: DataSet = build(data, DataSet)
    with own_code(data.name):
        count = part.count(split)
    if type(count) is not int or count < 1:
        raise PartFailed(f"{data.name}: count('{split}') gave {count!r}; a split has at least 1 frame")
    needed = count * data.size[0] * data.size[1] * 4
    if needed > MOST_SCENE_BYTES:
        message = f"{count} frames of {data.size[0]} x {data.size[1]} need {needed / 2**30:.0f} GiB of memory"
        raise PartFailed(f"{data.name}: {message}; at most {MOST_SCENE_BYTES // 2**30}: write a folder instead")
    return part, count


def checked_frame(part: DataSet, data: OwnData, split: Split, index: int) -> tuple[Bytes, Bytes]:
    """Image [3,H,W] and label [H,W] of a frame; raises `PartFailed` where they are none."""
    with own_code(data.name):
        image_HW3, label_HW = part.frame(split, index, data.size)
    where = f"{data.name}: frame('{split}', {index}) gave"
    for what, array, shape in (("an image", image_HW3, (*data.size, 3)), ("a label", label_HW, data.size)):
        if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != np.uint8:
            got = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
            raise PartFailed(f"{where} {what} {got}; expected uint8 {list(shape)}")
    wrong = np.unique(label_HW[(label_HW >= len(data.classes)) & (label_HW != IGNORE_INDEX)])
    if len(wrong):
        ids = f"{len(data.classes)} classes have the ids 0 to {len(data.classes) - 1}, {IGNORE_INDEX} is ignored"
        raise PartFailed(f"{where} a label with id {int(wrong[0])}; {ids}")
    return np.ascontiguousarray(image_HW3.transpose(2, 0, 1)), label_HW


@contextmanager
def _as_data_errors() -> Iterator[None]:
    try:
        yield
    except PartFailed as error:
        raise DataError(str(error), "data.name") from error
