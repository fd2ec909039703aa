"""``launches.json``: when a study was launched, by which command, with which versions, on what data.

Kept for reports. Nothing else depends on it: what is damaged or of an older version is not there.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Annotated

from pydantic import Field, TypeAdapter

from orchestrator.store import layout
from orchestrator.store.objects import Objects
from orchestrator.store.shapes import Whole

MOST_KEPT = 1000
"""Launches; of more, the first one and the latest."""


@dataclass(frozen=True)
class Launch:
    """One launch that had trials to run."""

    began: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Seconds since 1970."""
    command: str = ""
    """That runs it again, without secrets."""
    host: str = ""
    """Of the driver; trials have their own."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """By package; Python among them."""
    commit: str = ""
    """Of this project, where it is a checkout."""
    dirty: bool = False
    """Whether the checkout had changes that are not committed."""
    runs: str = ""
    """How MLflow's pages are served, or where; empty where nothing is tracked."""
    images: Mapping[str, Mapping[str, Whole]] = field(default_factory=dict)
    """Frames by split, of each data set by its section."""


_SHAPE = TypeAdapter(list[Launch])


def read_launches(objects: Objects) -> list[Launch]:
    """Every launch that was noted, the first one first; raises OSError as the storage."""
    with suppress(ValueError):  # DamagedError and ValidationError are ones
        return _SHAPE.validate_python(objects.read_json(layout.LAUNCHES) or [])
    return []


def note_launch(objects: Objects, launch: Launch) -> None:
    """Add a launch; whoever calls holds the study's lease. Raises OSError as the storage."""
    launches = [*read_launches(objects), launch]
    if len(launches) > MOST_KEPT:
        del launches[1]
    objects.write_json(layout.LAUNCHES, [asdict(one) for one in launches])
