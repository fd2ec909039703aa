"""The ``evaluation`` section: how predictions are made that are scored. Imports no torch."""

from operator import not_
from typing import Annotated, Literal

from pydantic import Field, Tag, field_validator

from trainable.data.config import MOST_SCENES, Factor, Size
from trainable.evaluate.metrics.names import is_taken, own_name
from trainable.parts.section import OwnPart
from trainable.section import NAME_ALONE, ONE_OR_LIST, WORD_OR_NUMBER, Section

ClassName = Annotated[str, Field(min_length=1)]
Classes = Annotated[
    Annotated[Literal["all"], Tag("one")]
    | Annotated[tuple[ClassName, ...], Field(min_length=1, max_length=254), Tag("list")],
    ONE_OR_LIST,
]
FrameCount = Annotated[
    Annotated[Literal["all"], Tag("word")] | Annotated[int, Field(ge=1, le=MOST_SCENES), Tag("number")],
    WORD_OR_NUMBER,
]
Every = Annotated[
    Annotated[Literal["last"], Tag("word")] | Annotated[int, Field(ge=1, le=100_000), Tag("number")],
    WORD_OR_NUMBER,
]


class OnChangedFrames(Section):
    """A measurement on changed frames of the evaluation split, which not every epoch has to pay for."""

    frames: FrameCount
    """How many frames of the evaluation split, or all."""
    every: Every = "last"
    """After which epochs: the last one, or every so many epochs and the last one."""

    def count(self, frames: int) -> int:
        """How many frames of a split of so many."""
        return frames if self.frames == "all" else min(self.frames, frames)

    def due(self, epoch: int, epochs: int) -> bool:
        """Whether an epoch of a trial of so many is measured."""
        return epoch == epochs or (self.every != "last" and epoch % self.every == 0)

    def times(self, epochs: int) -> int:
        """How often a trial of so many epochs measures it."""
        return sum(self.due(epoch, epochs) for epoch in range(1, epochs + 1))


class Context(OnChangedFrames):
    """How much classes rely on each other: erase one class's pixels and see what the others lose (after 1812.06707).

    At most C + 1 predictions of each frame for C classes: one of it whole, and one for each class that it holds.
    """

    classes: Classes = "all"
    """Classes that are erased, one at a time: all, or a list of their names."""
    frames: FrameCount = 64
    """How many frames of the evaluation split; which ones depends on nothing but how many there are. Or all."""
    fill: Literal["noise", "mean", "blur"] = "noise"
    """What stands in the place of a class, as in mechanism erase; the same for a frame and class in every trial."""

    @field_validator("classes")
    @classmethod
    def _no_class_twice(cls, classes: Literal["all"] | tuple[str, ...]) -> Literal["all"] | tuple[str, ...]:
        if len(set(classes)) < len(classes) and classes != "all":
            raise ValueError("lists a class twice")
        return classes


class Corruptions(OnChangedFrames):
    """Noise, blur, fog and brightness after Hendrycks and Dietterich (1903.12261): a pass over the frames for each."""

    severity: Annotated[int, Field(ge=1, le=5)] = 3
    """From 1 to 5."""
    frames: FrameCount = "all"
    """How many frames of the evaluation split, as for context."""


class OwnMetric(OwnPart):
    """A metric of your own (docs/own-parts.md), reported as val/NAME; further keys are arguments of its class."""

    mode: Annotated[Literal["max", "min"], Field(exclude_if="max".__eq__)] = "max"
    """Whether larger values are better or smaller ones."""


class Evaluation(Section):
    """How the evaluation predicts: by default every frame once and whole, in the scale of ``data.size``."""

    window: Size | None = None
    """(height, width) of a window that slides over the frame, for networks that saw crops of that size in training or
    frames too large for the memory; null predicts the frame whole."""
    overlap: Annotated[float, Field(ge=0, le=0.95)] = 1 / 3
    """Smallest share of a window that the next one covers too; where windows overlap their scores are averaged.
    At 0.95 a pixel is predicted 400 times."""
    flip: bool = False
    """Average with the prediction of the mirrored frame."""
    scales: Annotated[tuple[Factor, ...], Field(min_length=1, max_length=32)] = (1.0,)
    """Scales at which the frame is predicted; their probabilities are averaged."""
    test_at_end: bool = False
    """Score the labelled test split too (CamVid's), once, after the last epoch: test/miou and the like. The confirm
    stage of a study turns it on where there is such a split; a search must not see it."""
    context: Context | None = Field(default=None, exclude_if=not_)
    """Measure how much classes rely on each other as context; {} does with the defaults, null does not."""
    corruptions: Corruptions | None = Field(default=None, exclude_if=not_)
    """Score corrupted frames too; {} does with the defaults, null does not."""

    metrics: Annotated[tuple[Annotated[OwnMetric, NAME_ALONE], ...], Field(max_length=32, exclude_if=not_)] = ()
    """Metrics of your own, each ``module:Class``; one may be an objective."""

    @field_validator("metrics")
    @classmethod
    def _names_are_free(cls, metrics: tuple[OwnMetric, ...]) -> tuple[OwnMetric, ...]:
        names = [own_name(metric.short_name) for metric in metrics]
        for metric, name in zip(metrics, names, strict=True):
            if is_taken(name) or names.count(name) > 1:
                other = "is a metric already" if is_taken(name) else "is listed twice"
                raise ValueError(f"{metric.name} would be {name}, which {other}; give the class another name")
        return metrics

    @property
    def own_metrics(self) -> tuple[str, ...]:
        """Names of the metrics of one's own."""
        return tuple(own_name(metric.short_name) for metric in self.metrics)

    @property
    def averages(self) -> bool:
        """Whether a frame is predicted more than once."""
        return self.flip or self.scales != (1.0,)
