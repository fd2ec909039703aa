"""What a trial leaves to look at, beside its record: pictures and the confusion matrix.

They are kept before the checkpoint of their epoch, so a trial that continues has those of its earlier epochs. Nothing
depends on them: what is missing or damaged is not shown.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter

from orchestrator.store.layout import TrialFiles
from orchestrator.store.objects import Objects


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix with what is needed to read it."""

    epoch: int
    classes: tuple[str, ...]
    rare: tuple[int, ...]
    """Rare classes of the training data."""
    matrix: tuple[tuple[int, ...], ...]
    """Pixels of class ``row`` predicted as class ``column``."""


def keep_pictures(objects: Objects, key: str, files: Mapping[str, bytes]) -> None:
    """Keep PNG files by their names.

    Raises:
        OSError: the storage cannot be used; so does every function here.
    """
    for name, content in files.items():
        objects.write(f"{TrialFiles(key).artifacts}/{name}", content)


def keep_confusion(objects: Objects, key: str, confusion: Confusion) -> None:
    """Keep the confusion matrix."""
    objects.write_json(TrialFiles(key).confusion, asdict(confusion))


def read_picture(objects: Objects, key: str, name: str) -> bytes | None:
    """A PNG file; None where there is none."""
    return objects.read(f"{TrialFiles(key).artifacts}/{name}")


def read_confusion(objects: Objects, key: str) -> Confusion | None:
    """The confusion matrix; None where there is none, a damaged one, or one of another version."""
    with suppress(ValueError):
        return TypeAdapter(Confusion | None).validate_python(objects.read_json(TrialFiles(key).confusion))
    return None
