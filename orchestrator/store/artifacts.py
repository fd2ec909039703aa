"""What a trial leaves to look at, beside its record: pictures, and matrices over classes.

They are kept before the checkpoint of their epoch, so a trial that continues has those of its earlier epochs. Nothing
depends on them: what is missing or damaged is not shown.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field, TypeAdapter, ValidationInfo

from orchestrator.store.layout import TrialFiles
from orchestrator.store.objects import Objects

Count = Annotated[int, Field(ge=0, lt=2**63)]

Cosine = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
Loss = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
Total = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Entry = TypeVar("Entry")


def _square(matrix: tuple[tuple[Entry, ...], ...], info: ValidationInfo) -> tuple[tuple[Entry, ...], ...]:
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


@dataclass(frozen=True)
class WeightCosines:
    """Cosines between the classifier's weights of every two classes, with what is needed to read them."""

    epoch: int
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    rare: tuple[int, ...]
    """Rare classes of the training data."""
    matrix: Annotated[tuple[tuple[Cosine, ...], ...], AfterValidator(_square)]
    """-1 to 1, of class ``row`` and class ``column``."""


@dataclass(frozen=True)
class ContextReliance:
    """How much each class relies on each other class, with what is needed to read it."""

    epoch: int
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    rare: tuple[int, ...]
    """Rare classes of the training data."""
    matrix: Annotated[tuple[tuple[Loss | None, ...], ...], AfterValidator(_square)]
    """IoU that class ``column`` loses where class ``row`` is erased; None where they never meet, or are the same."""


@dataclass(frozen=True)
class CalibrationBins:
    """What the expected calibration error sums up: equal bins of confidence from 0 to 1."""

    epoch: int
    bins: Annotated[tuple[tuple[Total, Total, Total], ...], Field(min_length=1)]
    """Of each: pixels, right ones among them, sum of their confidences."""


_CONFUSION: TypeAdapter[Confusion | None] = TypeAdapter(Confusion | None)  # here: one takes milliseconds to make
_WEIGHT_COSINES: TypeAdapter[WeightCosines | None] = TypeAdapter(WeightCosines | None)
_CONTEXT: TypeAdapter[ContextReliance | None] = TypeAdapter(ContextReliance | None)
_CALIBRATION: TypeAdapter[CalibrationBins | None] = TypeAdapter(CalibrationBins | None)


def keep_artifacts(
    objects: Objects,
    key: str,
    pictures: Mapping[str, bytes],
    confusion: Confusion | None,
    cosines: WeightCosines | None = None,
    reliance: ContextReliance | None = None,
    calibration: CalibrationBins | None = None,
) -> None:
    """Keep PNG files by their names, and what else there is; raises OSError as all of ``Objects``."""
    files = TrialFiles(key)
    for name, content in pictures.items():
        objects.write(f"{files.artifacts}/{name}", content)
    if confusion is not None:
        objects.write_json(files.confusion, asdict(confusion))
    if cosines is not None:
        objects.write_json(files.weight_cosines, asdict(cosines))
    if reliance is not None:
        objects.write_json(files.context, asdict(reliance))
    if calibration is not None:
        objects.write_json(files.calibration, asdict(calibration))


def read_picture(objects: Objects, key: str, name: str) -> bytes | None:
    """A PNG file; None where there is none."""
    return objects.read(f"{TrialFiles(key).artifacts}/{name}")


def read_confusion(objects: Objects, key: str) -> Confusion | None:
    """The confusion matrix; None where there is none, a damaged one, or one of another version."""
    with suppress(ValueError):
        return _CONFUSION.validate_python(objects.read_json(TrialFiles(key).confusion))
    return None


def read_weight_cosines(objects: Objects, key: str) -> WeightCosines | None:
    """The cosines; None as ``read_confusion``."""
    with suppress(ValueError):
        return _WEIGHT_COSINES.validate_python(objects.read_json(TrialFiles(key).weight_cosines))
    return None


def read_reliance(objects: Objects, key: str) -> ContextReliance | None:
    """The reliance on context; None as ``read_confusion``."""
    with suppress(ValueError):
        return _CONTEXT.validate_python(objects.read_json(TrialFiles(key).context))
    return None


def read_calibration(objects: Objects, key: str) -> CalibrationBins | None:
    """The bins of confidence; None as ``read_confusion``, and where an older version ran the trial."""
    with suppress(ValueError):
        return _CALIBRATION.validate_python(objects.read_json(TrialFiles(key).calibration))
    return None
