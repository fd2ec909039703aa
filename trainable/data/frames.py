"""The frames of a data set's splits as torch sees them: views of a mapped cache file, or held in memory.

Shapes: N frames of a split, B of a batch, H W the configured size, C classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import assert_never

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from trainable.data.config import (
    CamVidData,
    CityscapesData,
    DataConfig,
    FolderData,
    OwnData,
    ShapesData,
    VocData,
    frames_of,
)
from trainable.data.decode import Decoder
from trainable.data.layout import SPLITS, pairs
from trainable.data.mapped import Counts, MappedSplit
from trainable.data.own_data import own_count, own_frames
from trainable.data.splits import KEPT_DATA_SETS, ArraySplit, HeldSplit, array_splits

Batch = tuple[Tensor, Tensor]
"""Images uint8 [B,3,H,W] and labels uint8 [B,H,W]."""
View = tuple[Tensor, Tensor]
"""Image uint8 [3,H,W] and label uint8 [H,W] of one frame, where they lie; not to be written to."""


@dataclass(frozen=True)
class HeldFrames:
    """Frames in memory: images uint8 [N,3,H,W], labels uint8 [N,H,W]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.labels)

    def views(self, chosen_B: Tensor) -> list[View]:
        """Frames by their indices [B]."""
        return [(self.images[index], self.labels[index]) for index in chosen_B.tolist()]

    def release(self, _chosen_B: Tensor) -> None:
        """Nothing to do: they are in memory."""

    def batches(self, indices: Sequence[Tensor]) -> Iterator[Batch]:
        """Yield the batch of each index tensor [B]."""
        for chosen_B in indices:
            yield self.images[chosen_B], self.labels[chosen_B]

    def first(self, count: int) -> "HeldFrames":
        """Return the first ``count`` frames, all if there are fewer."""
        return HeldFrames(self.images[:count], self.labels[:count])

    def class_pixels(self, classes: int) -> Counts:
        """Pixels of each class in each image, int64 [N,C]."""
        return HeldSplit.of(self.images.numpy(), self.labels.numpy(), classes).counts


@dataclass(frozen=True)
class MappedFrames:
    """Frames in a mapped cache file; a batch is copied out of it, nothing else is."""

    split: MappedSplit
    memory: Tensor
    """The whole file, uint8."""

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.split)

    def views(self, chosen_B: Tensor) -> list[View]:
        """Frames by their indices [B], as views of the file."""
        return [self._view(index) for index in chosen_B.tolist()]

    def release(self, chosen_B: Tensor) -> None:
        """Take the pages of these frames out of this process's account; to be called once they are copied."""
        self.split.release(chosen_B.tolist())

    def batches(self, indices: Sequence[Tensor]) -> Iterator[Batch]:
        """Yield the batch of each index tensor [B]."""
        for chosen_B in indices:
            images, labels = zip(*self.views(chosen_B), strict=True)
            batch = torch.stack(images), torch.stack(labels)
            self.release(chosen_B)
            yield batch

    def first(self, count: int) -> "MappedFrames":
        """Return the first ``count`` frames, all if there are fewer."""
        return MappedFrames(self.split.first(count), self.memory)

    def class_pixels(self, classes: int) -> Counts:
        """Pixels of each class in each image, int64 [N,C], as counted when the cache was built."""
        return self.split.counts[:, :classes]

    def _view(self, index: int) -> View:
        height, width = self.split.size
        image, label = int(self.split.image_offsets[index]), int(self.split.label_offsets[index])
        return (
            self.memory[image : image + 3 * height * width].view(3, height, width),
            self.memory[label : label + height * width].view(height, width),
        )


Frames = HeldFrames | MappedFrames


@dataclass(frozen=True)
class Splits:
    """Training and evaluation frames of a data set."""

    train: Frames
    val: Frames
    """shapes: the aligned scenes."""
    uniform: Frames | None = None
    """shapes: the same scenes with every object in either context alike."""
    swapped: Frames | None = None
    """shapes: the same scenes with every object in its partner's context."""
    masked: Frames | None = None
    """shapes: the aligned scenes without their context."""

    def evaluated(self) -> tuple[Frames, ...]:
        """All splits that an evaluation scores."""
        found = (self.val, self.uniform, self.swapped, self.masked)
        return tuple(frames for frames in found if frames is not None)


def load_splits(data: DataConfig) -> Splits:
    """Splits of the data section; builds the cache where it is missing.

    Raises:
        DataError: missing or broken files, or a cache that cannot be written.
    """
    return _load_splits(frames_of(data))


@lru_cache(maxsize=KEPT_DATA_SETS)
def _load_splits(data: DataConfig) -> Splits:
    return Splits(**{name: _frames(split) for name, split in array_splits(data).items()})


def _frames(split: ArraySplit) -> Frames:
    match split:
        case HeldSplit():
            return HeldFrames(torch.from_numpy(split.images), torch.from_numpy(split.labels))
        case MappedSplit():
            buffer = pa.py_buffer(split.file)  # by way of Arrow, because torch warns of numpy's read-only arrays
            return MappedFrames(split, from_dlpack(pa.Array.from_buffers(pa.uint8(), buffer.size, [None, buffer])))
        case _:
            assert_never(split)


def few_frames(data: DataConfig, train: int, val: int) -> tuple[Splits, int, int]:
    """The first frames of both splits, decoded here and now without a cache; and how many each split has in all.

    Raises:
        DataError: missing or broken files.
    """
    match data:
        case ShapesData():
            few = {"train_images": min(train, data.train_images), "val_images": min(val, data.val_images)}
            return load_splits(data.model_copy(update=few)), data.train_images, data.val_images
        case CamVidData() | CityscapesData() | VocData() | FolderData():
            decoder, files = Decoder.of(data), (pairs(data, "train"), pairs(data, "val"))
            shown = []
            for found, count in zip(files, (train, val), strict=True):
                images, labels = zip(*map(decoder.decode, found[:count]), strict=True)
                shown.append(HeldFrames(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels))))
            return Splits(*shown), len(files[0]), len(files[1])
        case OwnData():
            first = [own_frames(data, split, count) for split, count in zip(SPLITS, (train, val), strict=True)]
            own = [HeldFrames(torch.from_numpy(images), torch.from_numpy(labels)) for images, labels in first]
            return Splits(*own), own_count(data, "train"), own_count(data, "val")
        case _:
            assert_never(data)
