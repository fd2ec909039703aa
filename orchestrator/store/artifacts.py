"""What a trial leaves to look at, beside its record: pictures and the confusion matrix.

They are kept before the checkpoint of their epoch, so a trial that continues has those of its earlier epochs. Nothing
depends on them: what is missing or damaged is not shown.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Annotated

from pydantic import AfterValidator, Field, TypeAdapter, ValidationInfo

from orchestrator.store.layout import TrialFiles
from orchestrator.store.objects import Objects

Count = Annotated[int, Field(ge=0, lt=2**63)]


def _square(matrix: tuple[tuple[Count, ...], ...], info: ValidationInfo) -> tuple[tuple[Count, ...], ...]:
    """Refuse a matrix of other classes."""
    if {len(matrix), *map(len, matrix)} != {len(info.data.get("classes", ()))}:
        raise ValueError("not a row and a column for each class")
    return matrix


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix with what is needed to read it."""

    epoch: int
    classes: tuple[str, ...]
    rare: tuple[int, ...]
    """Rare classes of the training data."""
    matrix: Annotated[tuple[tuple[Count, ...], ...], AfterValidator(_square)]
    """Pixels of class ``row`` predicted as class ``column``."""


def keep_artifacts(objects: Objects, key: str, pictures: Mapping[str, bytes], confusion: Confusion | None) -> None:
    """Keep PNG files by their names, and the confusion matrix if there is one; raises OSError as all of ``Objects``."""
    for name, content in pictures.items():
        objects.write(f"{TrialFiles(key).artifacts}/{name}", content)
    if confusion is not None:
        objects.write_json(TrialFiles(key).confusion, asdict(confusion))


def read_picture(objects: Objects, key: str, name: str) -> bytes | None:
    """A PNG file; None where there is none."""
    return objects.read(f"{TrialFiles(key).artifacts}/{name}")


def read_confusion(objects: Objects, key: str) -> Confusion | None:
    """The confusion matrix; None where there is none, a damaged one, or one of another version."""
    with suppress(ValueError):
        return TypeAdapter(Confusion | None).validate_python(objects.read_json(TrialFiles(key).confusion))
    return None
