"""Write a cache file: decode every frame once, in parallel, and append it in order. Imports no torch.

Decoding runs in processes of its own (``python -m trainable.data.decoder``): Pillow holds the interpreter's lock while
it decodes a PNG (measured: two threads are no faster than one). They end with their parent, even a killed one, because
then their pipes close.
Shapes: H W the configured size, C classes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from trainable.data.classes import class_map
from trainable.data.config import FileData
from trainable.data.decode import Bytes, Decoder, Frame
from trainable.data.errors import DataError
from trainable.data.layout import Pair, Split
from trainable.data.mapped import REMARKS, Counts, schema
from trainable.data.masks import Palette

FEW_FRAMES = 16
"""Up to so many frames are decoded here and now: a decoding process takes half a second to start."""
ROOT = Path(__file__).resolve().parents[2]
"""Where a decoding process finds this package."""


def write_cache(
    path: Path, data: FileData, frames: dict[Split, tuple[Pair, ...]], classes: int, advance: Callable[[], None]
) -> None:
    """Write all frames of a data set to ``path``.

    Args:
        path: the file, replaced if there is one.
        data: the data section.
        frames: files of the frames of each split.
        classes: C.
        advance: called after every frame.

    Raises:
        DataError: a broken frame, palettes that contradict each other, a split without a labelled pixel.
        OSError: the file cannot be written, a full disk for instance.
    """
    pairs = [pair for split in frames.values() for pair in split]
    columns = schema(data.name, data.size, classes, {split: len(found) for split, found in frames.items()})
    labelled: list[int] = []
    colours: dict[int, tuple[Path, tuple[int, ...]]] = {}
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, columns) as writer:
        for pair, frame in zip(pairs, decoded(data, pairs), strict=True):
            _compare(pair.label, frame.palette, colours)
            counts_C = np.bincount(frame.label.ravel(), minlength=256)[:classes].astype(np.int64)
            labelled.append(int(counts_C.sum()))
            row = [_row(array) for array in (frame.image, frame.label, counts_C)]
            remarks = {REMARKS: json.dumps(frame.remarks)} if frame.remarks else None
            writer.write_batch(pa.record_batch(row, schema=columns), custom_metadata=remarks)
            advance()
    for split, listed in frames.items():
        if not any(labelled[: len(listed)]):
            ids = ", ".join(map(str, sorted(class_map(data).ignored)))
            lost = f"every one is ignored (ids {ids}) or lost at {data.size[0]}x{data.size[1]}"
            raise DataError(f"no pixel of the {len(listed)} frames of {split} is labelled: {lost}", "data.root")
        del labelled[: len(listed)]
    with path.open("rb") as written:
        os.fsync(written.fileno())  # a rename that outlives its content would be a cache of zeros


def _compare(label: Path, palette: Palette, colours: dict[int, tuple[Path, tuple[int, ...]]]) -> None:
    """Refuse a file whose palette gives an id another colour than an earlier file's: its indices are no ids."""
    for index, colour in palette.items():
        first, before = colours.setdefault(index, (label, colour))
        if before != colour:
            raise DataError(
                f"{label}: index {index} has colour {colour} in the file's palette, but {before} in that of {first}; "
                "save labels in mode L, or give every class of a folder its colour in classes.yaml"
            )


def _row(array: Bytes | Counts) -> pa.FixedSizeListArray:
    """One row of a column; not by ``pa.array``, which imports pandas where it is installed."""
    kind = pa.uint8() if array.dtype == np.uint8 else pa.int64()
    values = pa.Array.from_buffers(kind, array.size, [None, pa.py_buffer(np.ascontiguousarray(array))])
    return pa.FixedSizeListArray.from_arrays(values, array.size)


def decoded(data: FileData, pairs: Sequence[Pair]) -> Iterator[Frame]:
    """Yield the frame of each pair, in order; raises ``DataError`` for a broken one."""
    workers = min(len(os.sched_getaffinity(0)), len(pairs) // FEW_FRAMES)
    if workers < 2:
        yield from map(Decoder.of(data).frame, pairs)
        return
    with ExitStack() as stack:
        team = [stack.enter_context(_Worker(data)) for _ in range(workers)]
        for index, pair in enumerate(pairs[: 2 * workers]):  # the second is decoded while the first is fetched
            team[index % workers].ask(pair)
        for index, pair in enumerate(pairs):
            worker = team[index % workers]
            yield worker.answer(pair)
            if index + 2 * workers < len(pairs):
                worker.ask(pairs[index + 2 * workers])


@dataclass
class _Worker:
    """A decoding process: asked for frames, it answers in the same order."""

    data: FileData

    def __enter__(self) -> "_Worker":
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trainable.data.decoder", self.data.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._questions: IO[bytes] = self._process.stdin
        self._answers: IO[bytes] = self._process.stdout
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, pair: Pair) -> None:
        """Ask for a frame; what becomes of a dead process is told by its answer."""
        try:
            self._questions.write(json.dumps([str(pair.image), str(pair.label)]).encode() + b"\n")
            self._questions.flush()
        except BrokenPipeError:
            return

    def answer(self, pair: Pair) -> Frame:
        """Take the frame that was asked for first."""
        height, width = self.data.size
        header = self._answers.readline()
        answer: object = json.loads(header or "[]")
        if isinstance(answer, str):
            raise DataError(answer)
        if isinstance(answer, dict):
            frame_4HW = np.empty((4, height, width), dtype=np.uint8)
            if self._answers.readinto(frame_4HW.data.cast("B")) == frame_4HW.nbytes:  # type: ignore[attr-defined]
                palette = {index: tuple(colour) for index, colour in answer["palette"]}
                return Frame(frame_4HW[:3], frame_4HW[3], tuple(answer["remarks"]), palette)
        raise DataError(f"{pair.image}: the process that decodes it died (exit code {self._process.wait()})")
