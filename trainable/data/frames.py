"""The frames of a data set's splits: decoded once and held in memory when small, else decoded when asked for.

Decoded data are kept per process, keyed by the data section without its augmentation, so the
consecutive trials of one worker do not decode again.
Shapes: N frames of a split, B of a batch, H W the configured size.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import assert_never

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainable.data.config import Augment, CamVidData, CityscapesData, DataConfig, ShapesData, Size
from trainable.data.decode import Bytes, decode_label, decode_pair, train_ids
from trainable.data.layout import Pair, pairs
from trainable.data.shapes import make_scenes

HELD_BYTES = 1 << 30
"""A data set whose decoded splits are smaller than this together is held in memory."""

CACHED_DATA_SETS = 2
"""Data sets kept per process; trials of a study usually share one."""

Counts = npt.NDArray[np.int64]

Batch = tuple[Tensor, Tensor]
"""Images uint8 [B,3,H,W] and labels uint8 [B,H,W]."""


@dataclass(frozen=True)
class HeldFrames:
    """Frames in memory: images uint8 [N,3,H,W], labels uint8 [N,H,W]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.labels)

    def batches(self, indices: Sequence[Tensor]) -> Iterator[Batch]:
        """Yield the batch of each index tensor [B]."""
        for chosen_B in indices:
            yield self.images[chosen_B], self.labels[chosen_B]

    def first(self, count: int) -> "HeldFrames":
        """Return the first ``count`` frames, all if there are fewer."""
        return HeldFrames(self.images[:count], self.labels[:count])

    def class_pixels(self, classes: int) -> Counts:
        """Pixels of each class in each image, int64 [N,C]."""
        return np.stack([np.bincount(label.ravel(), minlength=256)[:classes] for label in self.labels.numpy()])


@dataclass(frozen=True)
class PngFrames:
    """Frames decoded from PNG when they are asked for, one batch ahead of its use."""

    pairs: tuple[Pair, ...]
    size: Size
    table: Bytes

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.pairs)

    def batches(self, indices: Sequence[Tensor]) -> Iterator[Batch]:
        """Yield the batch of each index tensor [B]; raises ``DataError`` for a broken file."""
        pool = ThreadPoolExecutor(torch.get_num_threads())
        try:
            ahead = [self._submit(pool, chosen_B) for chosen_B in indices[:1]]
            for i in range(len(indices)):
                ahead += [self._submit(pool, chosen_B) for chosen_B in indices[i + 1 : i + 2]]
                decoded = [future.result() for future in ahead.pop(0)]
                yield _stack([image for image, _ in decoded]), _stack([label for _, label in decoded])
        finally:
            pool.shutdown(cancel_futures=True)

    def _submit(self, pool: ThreadPoolExecutor, chosen_B: Tensor) -> list[Future[tuple[Bytes, Bytes]]]:
        return [pool.submit(decode_pair, self.pairs[i], self.size, self.table) for i in chosen_B.tolist()]

    def first(self, count: int) -> "PngFrames":
        """Return the first ``count`` frames, all if there are fewer."""
        return replace(self, pairs=self.pairs[:count])

    def hold(self) -> HeldFrames:
        """Decode all frames."""
        height, width = self.size
        images_N3HW = np.empty((len(self), 3, height, width), dtype=np.uint8)
        labels_NHW = np.empty((len(self), height, width), dtype=np.uint8)

        def decode(i: int) -> None:
            images_N3HW[i], labels_NHW[i] = decode_pair(self.pairs[i], self.size, self.table)

        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(decode, range(len(self))))  # the list raises the first error
        return HeldFrames(torch.from_numpy(images_N3HW), torch.from_numpy(labels_NHW))

    def class_pixels(self, classes: int) -> Counts:
        """Pixels of each class in each image, int64 [N,C]; decodes every label once."""
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            counts = pool.map(
                lambda pair: np.bincount(decode_label(pair, self.size, self.table).ravel(), minlength=256), self.pairs
            )
            return np.stack(list(counts))[:, :classes]


Frames = HeldFrames | PngFrames


@dataclass(frozen=True)
class Splits:
    """Training and evaluation frames of a data set."""

    train: Frames
    val: Frames
    """shapes: the aligned scenes."""
    swapped: Frames | None = None
    """shapes: the same scenes with every object in its partner's context."""


def load_splits(data: DataConfig, *, hold: bool = True) -> Splits:
    """Splits of the data section; ``hold=False`` decodes nothing in advance.

    Raises:
        DataError: missing or broken files.
    """
    without_augment = data.model_copy(update={"augment": Augment()})
    match without_augment:
        case ShapesData():
            return _held_splits(without_augment)
        case CamVidData() | CityscapesData():
            lazy = _png_splits(without_augment)
            return _held_splits(without_augment) if hold and fits_in_memory(lazy, data.size) else lazy
        case _:
            assert_never(without_augment)


@lru_cache(maxsize=CACHED_DATA_SETS)
def _held_splits(data: DataConfig) -> Splits:
    match data:
        case ShapesData():
            return Splits(
                train=HeldFrames(*make_scenes(data, "train", own_context=data.rho)),
                val=HeldFrames(*make_scenes(data, "val", own_context=1.0)),
                swapped=HeldFrames(*make_scenes(data, "val", own_context=0.0)),
            )
        case CamVidData() | CityscapesData():
            lazy = _png_splits(data)
            assert isinstance(lazy.train, PngFrames)
            assert isinstance(lazy.val, PngFrames)
            return Splits(lazy.train.hold(), lazy.val.hold())
        case _:
            assert_never(data)


def _png_splits(data: CamVidData | CityscapesData) -> Splits:
    table = train_ids(data)
    return Splits(
        PngFrames(pairs(data, "train"), data.size, table),
        PngFrames(pairs(data, "val"), data.size, table),
    )


def fits_in_memory(splits: Splits, size: Size) -> bool:
    """Whether a trial holds the decoded splits in memory."""
    height, width = size
    return (len(splits.train) + len(splits.val)) * height * width * 4 < HELD_BYTES


def _stack(arrays: Sequence[Bytes]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))
