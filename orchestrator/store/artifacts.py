"""What a trial leaves to look at, beside its record: ``<study>/trials/<key>/artifacts/``.

::

    validation_first.png    frames of the evaluation split after the first epoch        (worker)
    validation_last.png     the same frames after the last epoch; the one of a trial of a single epoch
    confusion.json          confusion matrix of the evaluation split after the last epoch

They are kept before the checkpoint of their epoch, so a trial that continues has those of its earlier epochs. Nothing
depends on them: what is missing or damaged is not shown.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from orchestrator.store.objects import DamagedError, Objects
from trainable.config import TrialConfig
from trainable.data.classes import class_names

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


@dataclass(frozen=True)
class Shown:
    """What an epoch leaves to look at."""

    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """PNG files by name."""
    confusion: Confusion | None = None
    problems: tuple[str, ...] = ()
    """Why something is missing, one line each."""

    def keep(self, objects: Objects, key: str) -> None:
        """Write it all into the trial's directory."""
        keep_pictures(objects, key, self.pictures)
        if self.confusion is not None:
            keep_confusion(objects, key, self.confusion)


def show(result: Any, config: TrialConfig) -> Shown:
    """Draw what an epoch's result can be asked for; whatever goes wrong is told and ends nothing.

    Only the first and the last epoch leave something. A result without ``pictures`` or ``confusion`` leaves less.
    """
    last = result.epoch == config.train.epochs
    if not last and result.epoch != 1:
        return Shown()
    pictures: dict[str, bytes] = {}
    confusion = None
    problems = []
    try:
        draw = getattr(result, "pictures", dict)
        pictures = {f"{name}_{'last' if last else 'first'}.png": content for name, content in draw().items()}
    except Exception as error:  # whatever it is, a picture is not worth a trial
        problems.append(f"epoch {result.epoch}: no pictures: {type(error).__name__}: {error}")
    try:
        if last and getattr(result, "confusion", None) is not None:
            confusion = _confusion(result, config)
    except Exception as error:
        problems.append(f"epoch {result.epoch}: no confusion matrix: {type(error).__name__}: {error}")
    return Shown(pictures, confusion, tuple(problems))


def _confusion(result: Any, config: TrialConfig) -> Confusion:
    matrix = tuple(map(tuple, result.confusion.tolist()))
    return Confusion(result.epoch, class_names(config.data), tuple(result.rare), matrix)
