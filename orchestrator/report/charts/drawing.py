"""How every figure is drawn: size, colours that colour-blind readers tell apart, files equal byte for byte.

Figures are built without pyplot, so they need no screen and leave no state behind.
Colours: Okabe, Ito, Color Universal Design, 2008.
"""

import io
from contextlib import AbstractContextManager
from typing import Literal, TypeAlias

import matplotlib
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
_NO_DATES: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def panels(
    number: int, columns: int, *, width: float, height: float, sharex: bool = False, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """An empty figure of ``number`` axes, row by row; width and height of the whole in inches."""
    with _style():
        figure = Figure(figsize=(width, height), layout="constrained")
        grid = figure.subplots(-(-number // columns), columns, squeeze=False, sharex=sharex, sharey=sharey)
    axes: list[Axes] = list(grid.flat)
    for axis in axes[number:]:
        axis.remove()
    for place, axis in enumerate(axes[:number]):
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=TEXT - 1)
        if place + columns >= number:
            axis.tick_params(labelbottom=True)  # the last of its column, though another row follows
    return figure, axes[:number]


def plain(text: str, most: int = 40) -> str:
    """Text as matplotlib shall write it: no mathematics between dollars, not endless."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return cut.replace("$", r"\$")


def save(figure: Figure, name: str, form: FigureFormat) -> bytes:
    """The figure as a file; equal for equal figures.

    Args:
        figure: The figure.
        name: Its name, from which ids in an SVG derive.
        form: Kind of the file.
    """
    buffer = io.BytesIO()
    with _style(name):
        if figure.get_layout_engine() is not None:
            figure.draw_without_rendering()  # lay it out once, not once per kind of file
            figure.set_layout_engine("none")
        figure.savefig(buffer, format=form, dpi=DPI, metadata=_NO_DATES[form])
    return buffer.getvalue()


def _style(name: str = "") -> AbstractContextManager[None]:
    return matplotlib.rc_context(
        {
            "font.size": TEXT,
            "axes.titlesize": TEXT + 1,
            "axes.labelsize": TEXT,
            "legend.fontsize": TEXT - 1,
            "svg.hashsalt": name,
            "pdf.compression": 6,
        }
    )
