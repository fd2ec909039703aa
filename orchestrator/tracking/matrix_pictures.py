"""A confusion matrix as a picture: rows are true classes, each row's shares add up to 100 %. Imports no mlflow.

Built without pyplot, so it may be drawn in any thread and needs no screen. Margins are computed instead of laid out:
matplotlib's layout engines take longer than everything else for a hundred classes.
Shapes: C classes.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from orchestrator.store.artifacts import Confusion

DPI = 110
MAX_NUMBERED_CLASSES = 25
"""Up to so many classes the cells bear their numbers."""
MAX_LETTERS = 26
"""Longer class names are cut."""


def draw_confusion(confusion: Confusion, title: str, path: Path) -> None:
    """Write the picture as a PNG; rare classes bear a star, rows of classes without a pixel are grey.

    Raises:
        OSError: it cannot be written.
    """
    names = [_label(name, c in confusion.rare) for c, name in enumerate(confusion.classes)]
    count = len(names)
    cell, font = _cell_and_font(count)
    matrix_CC = np.array(confusion.matrix, dtype=float)
    total_C1 = matrix_CC.sum(axis=1, keepdims=True)
    share_CC = np.divide(100 * matrix_CC, total_C1, out=np.full_like(matrix_CC, np.nan), where=total_C1 > 0)
    margin = 0.55 + max(map(len, names)) * font * 0.6 / 72
    side = max(2.4, cell * count)
    width, height = margin + side + 1.1, margin + side + 0.45
    figure = Figure(figsize=(width, height))
    axis = figure.add_axes((margin / width, margin / height, side / width, side / height))
    scale = PowerNorm(0.5, 0, 100)  # a class that loses a few percent to another is what one looks for
    cells = axis.imshow(np.ma.masked_invalid(share_CC), cmap="Blues", norm=scale, interpolation="nearest")
    axis.set_facecolor("#ddd")
    axis.set_xticks([])
    axis.set_yticks([])
    _name(axis, names, font, gap=0.06 * count / side)
    axis.set_xlabel("predicted class")
    axis.set_ylabel("true class")
    axis.xaxis.set_label_coords(0.5, -(margin - 0.25) / side)
    axis.yaxis.set_label_coords(-(margin - 0.2) / side, 0.5)
    star = "   (* rare)" if confusion.rare else ""
    axis.set_title(f"{title}: % of the true class{star}", fontsize=10, parse_math=False)
    if count <= MAX_NUMBERED_CLASSES:
        _number(axis, share_CC)
    bar = figure.add_axes(((margin + side + 0.15) / width, margin / height, 0.18 / width, side / height))
    figure.colorbar(cells, cax=bar)
    figure.savefig(path, dpi=DPI)


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
    for c, name in enumerate(names):
        axis.text(-0.5 - gap, c, name, ha="right", va="center", fontsize=font, parse_math=False)
        axis.text(c, len(names) - 0.5 + gap, name, ha="center", va="top", rotation=90, fontsize=font, parse_math=False)


def _number(axis: Axes, share_CC: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    """Whole percents; what rounds to nothing is left blank."""
    for row, column in np.argwhere(share_CC >= 0.5):
        share = share_CC[row, column]
        colour = "white" if share > 35 else "black"
        axis.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=7, color=colour)
