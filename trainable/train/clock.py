"""Time that a part of the training steps takes on the trial's device, in forward and in backward.

On a GPU the marks are events in its stream, read at the end of an epoch: nothing waits for them meanwhile.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

Mark = float | torch.cuda.Event


class PartClock:
    """Sums up spans of time."""

    def __init__(self, device: torch.device) -> None:
        """Measure on ``device``."""
        self.device = device
        self.spans: list[tuple[Mark, Mark]] = []

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Time what happens inside."""
        begin = self._mark()
        yield
        self.spans.append((begin, self._mark()))

    def backward(self, output: Tensor, source: Tensor) -> None:
        """Time the backward pass from the gradient of ``output`` to that of ``source``.

        Autograd runs what was computed last first, so nothing else runs in between where the part came last.
        """
        begun: list[Mark] = []

        def begin(_: Tensor) -> None:
            begun.append(self._mark())

        def end(_: Tensor) -> None:
            if begun:
                self.spans.append((begun.pop(), self._mark()))

        output.register_hook(begin)  # type: ignore[no-untyped-call]
        source.register_hook(end)  # type: ignore[no-untyped-call]

    def seconds(self) -> float:
        """Seconds so far; starts anew."""
        spans, self.spans = self.spans, []
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return sum(_seconds(begin, end) for begin, end in spans)

    def _mark(self) -> Mark:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event


def _seconds(begin: Mark, end: Mark) -> float:
    if isinstance(begin, torch.cuda.Event) and isinstance(end, torch.cuda.Event):
        return float(begin.elapsed_time(end)) / 1000
    assert isinstance(begin, float)
    assert isinstance(end, float)
    return end - begin
