"""Matrices over classes, such as cosines of weights: two arms side by side, and what one has changed.

Shapes: C classes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from orchestrator.report.charts.drawing import DIVERGING, panels, plain
from orchestrator.report.source import Floats

MOST_NAMED_CLASSES = 60
"""Beyond so many classes their names cannot be read."""
SMALLEST_SCALE = 0.01
"""Entries that differ by less are shown as equal."""


@dataclass(frozen=True)
class ClassMatrices:
    """Mean matrices [C,C] of a baseline and an arm over the same seeds; NaN is grey."""

    what: str
    """What an entry is."""

    classes: Sequence[str]
    rare: Collection[int]
    baseline: str
    baseline_CC: Floats
    arm: str
    arm_CC: Floats
    labels: tuple[str, str] = ("", "")
    """What the classes of columns and rows are."""

    def draw(self) -> Figure:
        """Baseline and arm on one scale, and their difference on its own; the diagonal is left out."""
        figure, axes = panels(3, 3, width=10.5, height=4.0, sharey=True)
        both_2CC = _without_diagonal(np.stack([self.baseline_CC, self.arm_CC]))
        difference_CC = both_2CC[1] - both_2CC[0]
        _panel(axes[0], self.baseline, both_2CC[0], _scale(both_2CC))
        image = _panel(axes[1], self.arm, both_2CC[1], _scale(both_2CC))
        figure.colorbar(image, ax=axes[:2], label=self.what, fraction=0.03, pad=0.02)
        change = _panel(axes[2], f"{self.arm} − {self.baseline}", difference_CC, _scale(difference_CC))
        figure.colorbar(change, ax=axes[2], label="difference", fraction=0.06, pad=0.02)
        for axis in axes:
            self._name_classes(axis)
            axis.set_xlabel(self.labels[0])
        axes[0].set_ylabel(self.labels[1])
        return figure

    def _name_classes(self, axis: Axes) -> None:
        count = len(self.classes)
        if count > MOST_NAMED_CLASSES:
            axis.set_xticks([])
            axis.set_yticks([])
            return
        names = [f"{plain(name, 20)} *" if c in self.rare else plain(name, 20) for c, name in enumerate(self.classes)]
        size = min(8.0, 160 / count)
        axis.set_xticks(range(count), names, rotation=90, fontsize=size)
        axis.set_yticks(range(count), names, fontsize=size)
        for labels in (axis.get_xticklabels(), axis.get_yticklabels()):
            for c, label in enumerate(labels):
                label.set_fontweight("bold" if c in self.rare else "normal")


def _without_diagonal(matrices: Floats) -> Floats:
    diagonal = np.eye(matrices.shape[-1], dtype=bool)
    off: Floats = np.where(diagonal, np.nan, matrices)
    return off


def _scale(values: Floats) -> Normalize:
    largest = max(SMALLEST_SCALE, float(np.nanmax(np.abs(values), initial=0.0)))
    return Normalize(-largest, largest)


def _panel(axis: Axes, title: str, matrix_CC: Floats, scale: Normalize) -> AxesImage:
    axis.set_title(plain(title, 44))
    axis.set_facecolor("#dddddd")
    axis.tick_params(length=0)
    return axis.imshow(np.ma.masked_invalid(matrix_CC), cmap=f"{DIVERGING}_r", norm=scale, interpolation="nearest")
