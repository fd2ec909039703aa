"""What an epoch leaves to look at: pictures and matrices over classes, made by the worker."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from orchestrator.store.artifacts import CalibrationBins, Confusion, ContextReliance, WeightCosines
from orchestrator.store.layout import GRADCAM
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

    @property
    def reliance(self) -> "Tensor | None":
        """IoU that class j loses where class i is erased, [C,C], NaN where they never meet; None where not measured."""

    @property
    def calibration(self) -> "Tensor | None":
        """Pixels, right ones, sum of confidences by bin, [M,3]; None where nothing was counted."""

    def state(self) -> Mapping[str, object]:
        """What ``fit`` needs to continue after this epoch."""

    def pictures(self) -> Mapping[str, bytes]:
        """PNG files by name, drawn when asked."""

    def gradcam(self) -> bytes | None:
        """PNG file of Grad-CAM maps, drawn when asked; None where there is nothing to show."""

    def weight_cosines(self) -> "Tensor | None":
        """Cosine of the classifier's weights of every two classes, [C,C]; None where there is no classifier."""


Made = TypeVar("Made")
DECIMALS = 6
"""Of a kept cosine or IoU: rounding errors are not kept."""
Fit: TypeAlias = Callable[..., Generator[FittedEpoch, None, None]]
"""Takes a trial's configuration, ``threads`` and ``resume_from``, the state of an earlier epoch or None."""


@dataclass(frozen=True)
class EpochOutputs:
    """What an epoch leaves to look at."""

    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """PNG files by name."""
    confusion: Confusion | None = None
    cosines: WeightCosines | None = None
    reliance: ContextReliance | None = None
    calibration: CalibrationBins | None = None
    problems: tuple[str, ...] = ()
    """Why something is missing, one line each."""


def draw_outputs(result: FittedEpoch, config: TrialConfig) -> EpochOutputs:
    """Draw what an epoch's result can be asked for; whatever goes wrong is told and ends nothing.

    Only the first and the last epoch leave something, and only the last one matrices and Grad-CAM maps.
    """
    last = result.epoch == config.train.epochs
    if not last and result.epoch != 1:
        return EpochOutputs()
    problems: list[str] = []

    def attempt(what: str, make: Callable[[], Made]) -> Made | None:
        try:
            return make()
        except Exception as error:  # whatever it is, a picture is not worth a trial
            problems.append(f"epoch {result.epoch}: no {what}: {type(error).__name__}: {error}")
            return None

    drawn = attempt("pictures", result.pictures) or {}
    pictures = {f"{name}_{'last' if last else 'first'}.png": content for name, content in drawn.items()}
    if not last:
        return EpochOutputs(pictures, problems=tuple(problems))
    if maps := attempt("Grad-CAM maps", result.gradcam):
        pictures[GRADCAM] = maps
    confusion = attempt("confusion matrix", lambda: _confusion(result, config))
    cosines = attempt("cosines of the weights", lambda: _cosines(result, config))
    reliance = attempt("matrix of reliance on context", lambda: _reliance(result, config))
    calibration = attempt("bins of confidence", lambda: _calibration(result))
    return EpochOutputs(pictures, confusion, cosines, reliance, calibration, tuple(problems))


def _confusion(result: FittedEpoch, config: TrialConfig) -> Confusion | None:
    matrix_CC = result.confusion
    if matrix_CC is None:
        return None
    return Confusion(result.epoch, class_names(config.data), tuple(result.rare), tuple(map(tuple, matrix_CC.tolist())))


def _cosines(result: FittedEpoch, config: TrialConfig) -> WeightCosines | None:
    cosines_CC = result.weight_cosines()
    if cosines_CC is None:
        return None
    rows = tuple(tuple(round(cosine, DECIMALS) for cosine in row) for row in cosines_CC.tolist())
    return WeightCosines(result.epoch, class_names(config.data), tuple(result.rare), rows)


def _reliance(result: FittedEpoch, config: TrialConfig) -> ContextReliance | None:
    reliance_CC = result.reliance
    if reliance_CC is None:
        return None
    rows = tuple(tuple(round(v, DECIMALS) if isfinite(v) else None for v in row) for row in reliance_CC.tolist())
    return ContextReliance(result.epoch, class_names(config.data), tuple(result.rare), rows)


def _calibration(result: FittedEpoch) -> CalibrationBins | None:
    bins_M3 = result.calibration
    if bins_M3 is None:
        return None
    rows = tuple((float(n), float(right), round(float(sure), DECIMALS)) for n, right, sure in bins_M3.tolist())
    return CalibrationBins(result.epoch, rows)
