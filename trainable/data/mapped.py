"""The cache file of a data set, memory-mapped: frames are views of the file, never copies. Imports no torch.

An Arrow IPC file with one record batch per frame and the columns ``image`` [3*H*W], ``label`` [H*W], both uint8, and
``class_pixels`` [C], int64, each of fixed size and uncompressed. Its schema says how many frames each split holds; what
the decoder said of a frame is custom metadata of its batch.

All processes of a node share one copy of the pages, the kernel's. ``release`` takes pages out of a process's own
account (the kernel keeps them), so that a process never looks larger than the frames it works on.
Shapes: N frames of a split, C classes, H W the cached size.
"""

import json
import mmap
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trainable.data.config import Size
from trainable.data.decode import Bytes
from trainable.data.layout import SPLITS, Split

Counts = npt.NDArray[np.int64]

REMARKS = "remarks"
"""Key of a batch's metadata."""
LARGEST_PAGE = 2 << 20
"""Bytes around an address that the kernel may map when one of them is read."""


@dataclass(frozen=True)
class MappedSplit:
    """The frames of one split in a mapped cache file."""

    file: mmap.mmap
    size: Size
    image_offsets: Counts
    """[N], where each image begins in the file, in bytes."""
    label_offsets: Counts
    """[N], where each label begins."""
    counts: Counts
    """[N,C], pixels of each class in each frame."""

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.counts)

    def image(self, index: int) -> Bytes:
        """Image uint8 [3,H,W], read-only."""
        return self._view(self.image_offsets[index], 3).reshape(3, *self.size)

    def label(self, index: int) -> Bytes:
        """Label uint8 [H,W], read-only."""
        return self._view(self.label_offsets[index], 1).reshape(self.size)

    def release(self, indices: Iterable[int]) -> None:
        """Take the pages of these frames out of this process's account; views of them stay valid."""
        for index in indices:
            for begin, channels in ((self.image_offsets[index], 3), (self.label_offsets[index], 1)):
                first = int(begin) // LARGEST_PAGE * LARGEST_PAGE
                end = -(-(int(begin) + channels * self._pixels) // LARGEST_PAGE) * LARGEST_PAGE
                self.file.madvise(mmap.MADV_DONTNEED, first, min(end, len(self.file)) - first)

    def first(self, count: int) -> "MappedSplit":
        """Return the first ``count`` frames, all if there are fewer."""
        return replace(
            self,
            image_offsets=self.image_offsets[:count],
            label_offsets=self.label_offsets[:count],
            counts=self.counts[:count],
        )

    @property
    def _pixels(self) -> int:
        return self.size[0] * self.size[1]

    def _view(self, offset: int, channels: int) -> Bytes:
        return np.frombuffer(self.file, dtype=np.uint8, count=channels * self._pixels, offset=offset)


def schema(name: str, size: Size, classes: int, frames: dict[Split, int]) -> pa.Schema:
    """Schema of a cache file: its columns, and in its metadata the splits in the order of their frames."""
    height, width = size
    columns = {
        "image": pa.list_(pa.uint8(), 3 * height * width),
        "label": pa.list_(pa.uint8(), height * width),
        "class_pixels": pa.list_(pa.int64(), classes),
    }
    return pa.schema(columns, metadata={"data": name, "size": json.dumps(size), "frames": json.dumps(frames)})


def is_complete(path: Path) -> bool:
    """Whether a cache file is there and whole; reads its two ends only."""
    try:
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            return bool(reader.num_record_batches == sum(json.loads(reader.schema.metadata[b"frames"]).values()))
    except (OSError, pa.ArrowInvalid, KeyError, ValueError, TypeError):  # KeyError, TypeError: an Arrow file of others
        return False


def open_mapped(path: Path) -> dict[Split, MappedSplit]:
    """Map a complete cache file."""
    with path.open("rb") as opened:
        file = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    buffer = pa.py_buffer(file)
    reader = pa.ipc.open_file(pa.BufferReader(buffer))
    height, width = json.loads(reader.schema.metadata[b"size"])
    batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
    offsets = {
        name: np.array([_values(batch, name).address - buffer.address for batch in batches])
        for name in ("image", "label")
    }
    counts_NC = np.stack([np.frombuffer(_values(batch, "class_pixels"), dtype=np.int64) for batch in batches])
    del batches  # they hold pages
    file.madvise(mmap.MADV_DONTNEED)
    frames = json.loads(reader.schema.metadata[b"frames"])
    splits: dict[Split, MappedSplit] = {}
    begin = 0
    for split in SPLITS:
        part = slice(begin, begin + frames[split])
        splits[split] = MappedSplit(
            file, (height, width), offsets["image"][part], offsets["label"][part], counts_NC[part]
        )
        begin = part.stop
    return splits


def read_remarks(path: Path) -> list[list[str]]:
    """What the decoder said of each frame of a complete cache file, in their order."""
    with pa.memory_map(str(path)) as source:
        reader = pa.ipc.open_file(source)
        said = [reader.get_batch_with_custom_metadata(index)[1] for index in range(reader.num_record_batches)]
        return [json.loads(metadata[REMARKS]) if metadata else [] for metadata in said]


def _values(batch: pa.RecordBatch, name: str) -> pa.Buffer:
    """The bytes of a column; not by way of Arrow's conversions, which import pandas where it is installed."""
    return batch[name].values.buffers()[1]
