"""What a trial leaves to look at, beside its record: ``<study>/trials/<key>/artifacts/``.

::

    validation_first.png    frames of the evaluation split after the first epoch        (worker)
    validation_last.png     the same frames after the last epoch; the one of a trial of a single epoch
    confusion.json          confusion matrix of the evaluation split after the last epoch

They are kept before the checkpoint of their epoch, so a trial that continues has those of its earlier epochs. Nothing
depends on them: what is missing or damaged is not shown.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from orchestrator.store.objects import DamagedError, Objects

FOLDER = "artifacts"
PICTURES = ("validation_first.png", "validation_last.png")
_CONFUSION = "confusion.json"


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
        objects.write(f"trials/{key}/{FOLDER}/{name}", content)


def keep_confusion(objects: Objects, key: str, confusion: Confusion) -> None:
    """Keep the confusion matrix."""
    objects.write_json(f"trials/{key}/{FOLDER}/{_CONFUSION}", asdict(confusion))


def read_picture(objects: Objects, key: str, name: str) -> bytes | None:
    """A PNG file; None where there is none."""
    return objects.read(f"trials/{key}/{FOLDER}/{name}")


def read_confusion(objects: Objects, key: str) -> Confusion | None:
    """The confusion matrix; None where there is none, or a damaged one."""
    try:
        tree = objects.read_json(f"trials/{key}/{FOLDER}/{_CONFUSION}")
    except DamagedError:
        return None
    if tree is None:
        return None
    matrix = tuple(tuple(row) for row in tree["matrix"])
    return Confusion(tree["epoch"], tuple(tree["classes"]), tuple(tree["rare"]), matrix)
