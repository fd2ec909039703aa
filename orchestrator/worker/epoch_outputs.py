"""What an epoch leaves to look at: pictures and the confusion matrix, drawn by the worker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.store.artifacts import Confusion, keep_confusion, keep_pictures
from orchestrator.store.objects import Objects
from trainable.config import TrialConfig
from trainable.data.classes import class_names


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
