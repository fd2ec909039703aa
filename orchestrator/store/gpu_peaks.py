"""``gpu-memory.json``: the most GPU memory that trials of each kind were seen to take, over all launches."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter

from orchestrator.store import layout
from orchestrator.store.objects import DamagedError, Objects
from orchestrator.store.shapes import Whole, read_shaped

NOTABLE = 1.01
"""A peak that grew by less is not written anew: trials report one with every epoch."""


@dataclass(frozen=True)
class Peak:
    """Of the trials of a memory class, in bytes."""

    peak: Whole
    """The most that the tensors of one held, in a probe or an epoch, or asked for."""
    total: Whole
    """What the GPU of its probe has."""
    trial: str
    """Key of the trial that showed it."""


_SHAPE: TypeAdapter[dict[str, Peak]] = TypeAdapter(dict[str, Peak])


class GpuPeaks:
    """The peaks that are known; written by the driver alone. Damaged ones are measured again."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._peaks: dict[str, Peak] = {}
        with suppress(DamagedError):
            self._peaks = read_shaped(objects, layout.GPU_MEMORY, _SHAPE) or {}
        self._written: Mapping[str, Peak] = dict(self._peaks)

    def of(self, name: str) -> Peak | None:
        """The peak of a memory class; None where it was not measured yet."""
        return self._peaks.get(name)

    def smallest(self) -> Peak | None:
        """That of the cheapest kind; None where none is known."""
        return min(self._peaks.values(), key=lambda known: known.peak, default=None)

    def observe(self, name: str, peak: int, total: int, trial: str) -> None:
        """Take a peak that a trial showed; the largest stands. What cannot be written is known to this launch alone."""
        before = self._peaks.get(name)
        if before is not None and before.peak >= peak:
            return
        self._peaks[name] = Peak(peak, total or (before.total if before else 0), trial)
        written = self._written.get(name)
        if written is None or peak > NOTABLE * written.peak:
            with suppress(OSError):
                self._objects.write_json(layout.GPU_MEMORY, {key: asdict(known) for key, known in self._peaks.items()})
                self._written = dict(self._peaks)
