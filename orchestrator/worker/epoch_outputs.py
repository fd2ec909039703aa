"""What an epoch leaves to look at: pictures and the confusion matrix, drawn by the worker."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from orchestrator.store.artifacts import Confusion, keep_confusion, keep_pictures
from orchestrator.store.objects import Objects
from trainable.config import TrialConfig
from trainable.data.classes import class_names

if TYPE_CHECKING:  # a driver imports this module too
    from torch import Tensor


class FittedEpoch(Protocol):
    """What a ``fit`` yields of an epoch; ``trainable.train.engine.EpochResult`` is one."""

    @property
    def epoch(self) -> int:
        """Counted from 1."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Values by name; an undefined metric has no entry."""

    @property
    def rare(self) -> tuple[int, ...]:
        """Rare classes of the training data."""

    @property
    def confusion(self) -> "Tensor | None":
        """Pixels of class i predicted as class j, [C,C]; None where nothing was counted."""

    def state(self) -> Mapping[str, object]:
        """What ``fit`` needs to continue after this epoch."""

    def pictures(self) -> Mapping[str, bytes]:
        """PNG files by name, drawn when asked."""


Fit: TypeAlias = Callable[..., Generator[FittedEpoch, None, None]]
"""Takes a trial's configuration, ``threads`` and ``resume_from``, the state of an earlier epoch or None."""


@dataclass(frozen=True)
class EpochOutputs:
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


def draw_outputs(result: FittedEpoch, config: TrialConfig) -> EpochOutputs:
    """Draw what an epoch's result can be asked for; whatever goes wrong is told and ends nothing.

    Only the first and the last epoch leave something.
    """
    last = result.epoch == config.train.epochs
    if not last and result.epoch != 1:
        return EpochOutputs()
    pictures: dict[str, bytes] = {}
    confusion = None
    problems = []
    try:
        pictures = {f"{name}_{'last' if last else 'first'}.png": drawn for name, drawn in result.pictures().items()}
    except Exception as error:  # whatever it is, a picture is not worth a trial
        problems.append(f"epoch {result.epoch}: no pictures: {type(error).__name__}: {error}")
    try:
        confusion = _confusion(result, config) if last else None
    except Exception as error:
        problems.append(f"epoch {result.epoch}: no confusion matrix: {type(error).__name__}: {error}")
    return EpochOutputs(pictures, confusion, tuple(problems))


def _confusion(result: FittedEpoch, config: TrialConfig) -> Confusion | None:
    matrix_CC = result.confusion
    if matrix_CC is None:
        return None
    return Confusion(result.epoch, class_names(config.data), tuple(result.rare), tuple(map(tuple, matrix_CC.tolist())))
