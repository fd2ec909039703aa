"""What the launches of a study have used: time, trials' time, GPU-hours by node. Each launch has a file of its own."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Self

from pydantic import Field, TypeAdapter

from orchestrator.store import layout
from orchestrator.store.objects import DamagedError, Objects
from orchestrator.store.shapes import Whole, read_shaped

HOUR_S = 3600.0

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Spent:
    """What was used."""

    seconds: Seconds = 0.0
    """In which launches ran trials."""
    trial_seconds: Seconds = 0.0
    """That trials occupied their slots, added up: starts, epochs and what was lost with workers."""
    starting: Seconds = 0.0
    """Of these, until the first epoch of each trial began: a new worker imports for seconds, another does not."""
    gpu_seconds: Mapping[str, Seconds] = field(default_factory=dict)
    """That trials occupied GPUs, by node; half a GPU for a second is half of one. "" stands for an unknown node."""
    epochs: Whole = 0
    """That trials have kept, repeated ones included."""

    @property
    def gpu_hours(self) -> float:
        """On all nodes together."""
        return sum(self.gpu_seconds.values()) / HOUR_S

    def plus(self, other: "Spent") -> Self:
        """Both together."""
        nodes = {*self.gpu_seconds, *other.gpu_seconds}
        by_node = {node: self.gpu_seconds.get(node, 0.0) + other.gpu_seconds.get(node, 0.0) for node in sorted(nodes)}
        seconds, occupied = self.seconds + other.seconds, self.trial_seconds + other.trial_seconds
        return type(self)(seconds, occupied, self.starting + other.starting, by_node, self.epochs + other.epochs)

    def write(self, objects: Objects, launch: str) -> None:
        """Keep it as what a launch has used so far."""
        objects.write_json(layout.spent(launch), asdict(self))


_SHAPE = TypeAdapter(Spent)


def all_spent(objects: Objects, warnings: list[str] | None = None) -> Spent:
    """What all launches have used together; a damaged file counts for nothing, and is named among the warnings.

    Raises:
        OSError: the storage cannot be used.
    """
    return _sum(_read(objects, name, warnings) for name in objects.names("") if layout.SPENT.fullmatch(name))


def _read(objects: Objects, name: str, warnings: list[str] | None) -> Spent:
    try:
        return read_shaped(objects, name, _SHAPE) or Spent()
    except DamagedError as error:
        if warnings is not None:
            warnings.append(f"{error}; what that launch used is not counted")
        return Spent()


def _sum(parts: Iterable[Spent]) -> Spent:
    total = Spent()
    for part in parts:
        total = total.plus(part)
    return total
