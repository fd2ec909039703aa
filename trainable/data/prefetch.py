"""Prepare the next batches while a GPU computes: a thread reads and cuts them and copies them in a stream of its own.

The thread runs the very generator that would run without it, so random numbers are drawn in the same order and the
batches are the same bit for bit. On a CPU there is no thread: it would take the cores from the steps (benchmarks/
RESULTS.md has the figures).
"""

import queue
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch

from trainable.data.frames import Batch

DEPTH = 2
"""Batches that lie ready at most: what they take of the GPU's memory is bounded."""


@contextmanager
def ahead(batches: Iterator[Batch], device: torch.device) -> Iterator[Iterator[Batch]]:
    """Yield the same batches, on a GPU prepared by a thread, which has ended when the context does.

    An error of the thread is raised where its batch would have come.
    """
    if device.type != "cuda":
        yield batches
        return
    prefetch = Prefetch(batches, CopyStream.on(device))
    try:
        yield prefetch.batches()
    finally:
        prefetch.close()


@dataclass(frozen=True)
class CopyStream:
    """A stream of a GPU in which batches are made, beside the one in which the steps run."""

    stream: torch.cuda.Stream

    @classmethod
    def on(cls, device: torch.device) -> "CopyStream":
        """A stream of ``device``; without an index it is the current one of the calling thread, not of a new one."""
        index = torch.cuda.current_device() if device.index is None else device.index
        return cls(torch.cuda.Stream(index))  # type: ignore[no-untyped-call]

    def working(self) -> AbstractContextManager[object]:
        """Context in which a thread makes batches."""
        return torch.cuda.stream(self.stream)

    def mark(self) -> torch.cuda.Event:
        """What is reached when all that was queued so far is done."""
        reached = torch.cuda.Event()  # type: ignore[no-untyped-call]
        reached.record(self.stream)
        return reached

    def hand_over(self, batch: Batch, mark: torch.cuda.Event | None) -> None:
        """Let the caller's stream use the batch: it waits there for the mark, nothing else does.

        The allocator is told of the second stream, or it would give the memory away while a step still reads it.
        """
        assert mark is not None
        current = torch.cuda.current_stream(self.stream.device)
        current.wait_event(mark)
        for tensor in batch:
            tensor.record_stream(current)


class NoStream:
    """Stands in where there is no GPU, as in tests of the thread."""

    def working(self) -> AbstractContextManager[object]:
        """Nothing."""
        return nullcontext()

    def mark(self) -> None:
        """Nothing to wait for."""

    def hand_over(self, batch: Batch, mark: torch.cuda.Event | None) -> None:
        """Nothing to wait for."""


class Prefetch:
    """A thread that takes batches from an iterator, at most ``depth`` ahead."""

    def __init__(self, batches: Iterator[Batch], stream: CopyStream | NoStream, depth: int = DEPTH) -> None:
        """Begin at once."""
        self._source, self._stream = batches, stream
        self._ready: queue.SimpleQueue[tuple[Batch, torch.cuda.Event | None] | BaseException | None]
        self._ready = queue.SimpleQueue()
        self._places = threading.Semaphore(depth)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._prepare, name="prefetch", daemon=True)
        self._thread.start()

    def batches(self) -> Iterator[Batch]:
        """Yield the batches in their order; raises what their iterator raises."""
        while (item := self._ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            batch, mark = item
            self._stream.hand_over(batch, mark)
            self._places.release()
            del item
            yield batch

    def close(self) -> None:
        """End the thread, after the batch that it is at; its batches are let go."""
        self._closed.set()
        self._places.release()
        self._thread.join()
        while not self._ready.empty():
            self._ready.get()

    def _prepare(self) -> None:
        torch.set_num_threads(1)  # of this thread: copies are short, and others would take the cores of the step
        try:
            with self._stream.working():
                while self._places.acquire() and not self._closed.is_set():
                    batch = next(self._source, None)
                    if batch is None:
                        break
                    self._ready.put((batch, self._stream.mark()))
            self._ready.put(None)
        except BaseException as error:  # whatever it is, the consumer must not wait for ever
            self._ready.put(error)
