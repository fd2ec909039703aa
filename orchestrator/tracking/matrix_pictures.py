"""A trial's matrices over classes as pictures: confusion, cosines of weights, reliance on context. Imports no mlflow.

Built without pyplot, so they may be drawn in any thread and need no screen. Margins are computed instead of laid out:
matplotlib's layout engines take longer than everything else for a hundred classes.
Shapes: C classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure

from orchestrator.store.artifacts import Confusion, ContextReliance, WeightCosines

DPI = 110
MAX_NUMBERED_CLASSES = 25
"""Up to so many classes the cells bear their numbers."""
SMALLEST_SCALE = 0.1
"""Cosines and losses that are all smaller are shown pale."""
MAX_LETTERS = 26
"""Longer class names are cut."""
Matrix = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def draw_confusion(confusion: Confusion, title: str, path: Path) -> None:
    """Write the picture as a PNG: rows are true classes, each row's shares add up to 100 %.

    Rare classes bear a star, rows of classes without a pixel are grey.

    Raises:
        OSError: it cannot be written.
    """
    matrix_CC = np.array(confusion.matrix, dtype=float)
    total_C1 = matrix_CC.sum(axis=1, keepdims=True)
    share_CC = np.divide(100 * matrix_CC, total_C1, out=np.full_like(matrix_CC, np.nan), where=total_C1 > 0)
    scale = PowerNorm(0.5, 0, 100)  # a class that loses a few percent to another is what one looks for
    drawing = _Drawing(share_CC, "Blues", scale, lambda share: f"{share:.0f}" if share >= 0.5 else "", dark=35)
    drawing.save(confusion, f"{title}: % of the true class", path, ("predicted class", "true class"))


def draw_weight_cosines(cosines: WeightCosines, title: str, path: Path) -> None:
    """Write the picture as a PNG; rare classes bear a star, the cosine of a class with itself is left out.

    Raises:
        OSError: it cannot be written.
    """
    cosine_CC = np.array(cosines.matrix, dtype=float)
    np.fill_diagonal(cosine_CC, np.nan)
    _around_zero(cosine_CC).save(cosines, f"{title}: cosine of class weights", path)


def draw_reliance(reliance: ContextReliance, title: str, path: Path) -> None:
    """Write the picture as a PNG: red where a class loses IoU; rows of classes that were not erased are grey.

    Raises:
        OSError: it cannot be written.
    """
    drawing = _around_zero(np.array(reliance.matrix, dtype=float))
    drawing.save(reliance, f"{title}: IoU lost", path, ("class that loses", "class erased"))


def _around_zero(values_CC: Matrix) -> "_Drawing":
    largest = max(SMALLEST_SCALE, float(np.nanmax(np.abs(values_CC), initial=0.0)))
    return _Drawing(values_CC, "RdBu_r", Normalize(-largest, largest), _two_digits, dark=0.6 * largest)


def _two_digits(value: float) -> str:
    """Without the zero in front, or a sign before nothing."""
    return f"{round(value, 2) + 0:.2f}".replace("0.", ".")


@dataclass(frozen=True)
class _Drawing:
    """A matrix [C,C] and how its cells are shown; those that are not finite are grey."""

    values_CC: Matrix
    colours: str
    scale: Normalize
    number: Callable[[float], str]
    """The text of a cell."""
    dark: float
    """Cells whose absolute value is larger bear white numbers."""

    def save(
        self,
        of: Confusion | WeightCosines | ContextReliance,
        title: str,
        path: Path,
        labels: tuple[str, str] = ("", ""),
    ) -> None:
        """Draw and write; ``labels`` say what the classes of columns and rows are."""
        names = [_label(name, c in of.rare) for c, name in enumerate(of.classes)]
        count = len(names)
        cell, font = _cell_and_font(count)
        margin = 0.55 + max(map(len, names)) * font * 0.6 / 72
        side = max(2.4, cell * count)
        width, height = margin + side + 1.1, margin + side + 0.45
        figure = Figure(figsize=(width, height))
        axis = figure.add_axes((margin / width, margin / height, side / width, side / height))
        masked_CC = np.ma.masked_invalid(self.values_CC)
        cells = axis.imshow(masked_CC, cmap=self.colours, norm=self.scale, interpolation="nearest")
        axis.set_facecolor("#ddd")
        _name(axis, names, font, gap=0.06 * count / side)
        _label_axes(axis, labels, margin / side, 1 / side)
        star = "   (* rare)" if of.rare else ""
        axis.set_title(f"{title}{star}", fontsize=10, parse_math=False)
        if count <= MAX_NUMBERED_CLASSES:
            self._number(axis)
        bar = figure.add_axes(((margin + side + 0.15) / width, margin / height, 0.18 / width, side / height))
        figure.colorbar(cells, cax=bar)
        figure.savefig(path, dpi=DPI)

    def _number(self, axis: Axes) -> None:
        for row, column in np.argwhere(np.isfinite(self.values_CC)):
            value = self.values_CC[row, column]
            if text := self.number(value):
                colour = "white" if abs(value) > self.dark else "black"
                axis.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)


def _cell_and_font(count: int) -> tuple[float, float]:
    """Side of a cell in inches, and size of the names in points, so that the picture stays below 2,000 pixels."""
    if count <= MAX_NUMBERED_CLASSES:
        return 0.4, 8
    return (0.2, 7) if count <= 60 else (0.1, 5)


def _label(name: str, rare: bool) -> str:
    short = name if len(name) <= MAX_LETTERS else f"{name[: MAX_LETTERS - 1]}…"
    return f"{short} *" if rare else short


def _name(axis: Axes, names: Sequence[str], font: float, gap: float) -> None:
    """Class names left of the rows and below the columns; as plain texts, because ticks take three times as long."""
    axis.set_xticks([])
    axis.set_yticks([])
    for c, name in enumerate(names):
        axis.text(-0.5 - gap, c, name, ha="right", va="center", fontsize=font, parse_math=False)
        axis.text(c, len(names) - 0.5 + gap, name, ha="center", va="top", rotation=90, fontsize=font, parse_math=False)


def _label_axes(axis: Axes, labels: tuple[str, str], margin: float, inch: float) -> None:
    """What columns and rows are, at the edge of the picture; lengths in sides of the matrix."""
    axis.set_xlabel(labels[0])
    axis.set_ylabel(labels[1])
    axis.xaxis.set_label_coords(0.5, 0.25 * inch - margin)
    axis.yaxis.set_label_coords(0.2 * inch - margin, 0.5)
