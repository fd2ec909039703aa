"""How every figure is drawn: size, colours that colour-blind readers tell apart, files equal byte for byte.

Figures are built without pyplot, so they need no screen and leave no state behind.
Colours: Okabe, Ito, Color Universal Design, 2008.
"""

import io
from typing import Any, Literal, TypeAlias

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FigureFormat: TypeAlias = Literal["png", "svg", "pdf"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of arms and references, in their order; grey is the baseline's, black the text's."""
BASELINE = "#6e7781"
BETTER, WORSE, NOT_SHOWN = "#0072b2", "#d55e00", "#6e7781"
DIVERGING = "RdBu"
SEQUENTIAL = "viridis"
DPI = 130
TEXT = 9
_RC = {"font.size": TEXT, "axes.titlesize": TEXT + 1, "axes.labelsize": TEXT, "legend.fontsize": TEXT - 1}
_NO_DATES: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def panels(
    rows: int, columns: int, *, width: float, height: float, sharex: bool = False, sharey: bool = False
) -> tuple[Figure, npt.NDArray[np.object_]]:
    """An empty figure of ``rows`` x ``columns`` axes (always a 2-D array); width and height in inches."""
    with matplotlib.rc_context(_RC):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=TEXT - 1)
    return figure, axes


def hide_rest(axes: npt.NDArray[np.object_], used: int) -> None:
    """Take away the axes of a grid that no panel needs."""
    for axis in list(axes.flat)[used:]:
        axis.remove()


def plain(text: str, most: int = 40) -> str:
    """Text as matplotlib shall write it: no mathematics between dollars, not endless."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return cut.replace("$", r"\$")


def with_note(axis: Axes, text: str) -> None:
    """Small words below a panel's title."""
    axis.set_title(axis.get_title() + "\n" + text, fontsize=TEXT)


def save(figure: Figure, name: str, form: FigureFormat) -> bytes:
    """The figure as a file; equal for equal figures.

    Args:
        figure: The figure.
        name: Its name, from which ids in an SVG derive.
        form: Kind of the file.
    """
    buffer = io.BytesIO()
    with matplotlib.rc_context({**_RC, "svg.hashsalt": name, "pdf.compression": 6}):
        figure.savefig(buffer, format=form, dpi=DPI, metadata=_NO_DATES[form])
    return buffer.getvalue()
