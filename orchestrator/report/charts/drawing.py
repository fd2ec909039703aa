"""How every figure is drawn: size, colours that colour-blind readers tell apart, files equal byte for byte.

Figures are built without pyplot, so they need no screen and leave no state behind.
Colours: Okabe, Ito, Color Universal Design, 2008.
"""

import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.report.pages.document import FigureFormat

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of arms and references, in their order; grey is the baseline's, black the text's."""
BASELINE = "#6e7781"
BETTER, WORSE, NOT_SHOWN = "#0072b2", "#d55e00", "#6e7781"
REFERENCES = ((COLOURS[1], "--"), (COLOURS[2], ":"), (COLOURS[3], "-."), (COLOURS[4], (0, (5, 1, 1, 1, 1, 1))))
"""Colour and style of the lines of references, told apart without colours too."""
DIVERGING = "RdBu"
SEQUENTIAL = "viridis"
DPI = 130
TEXT = 9
_NO_DATES: dict[str, dict[str, None]] = {
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
    for position, axis in enumerate(axes[:number]):
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=TEXT - 1)
        if position + columns >= number:
            axis.tick_params(labelbottom=True)  # the last of its column, though another row follows
    return figure, axes[:number]


def plain(text: str, most: int = 40) -> str:
    """Text as matplotlib shall write it: no mathematics between dollars, not endless."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return cut.replace("$", r"\$")


def wrapped(text: str, width: int) -> str:
    """Text over several lines that break behind a point, a slash or an underscore; a longer word stays whole."""
    lines = [""]
    for part in re.findall(r"[^./_ ]*[./_ ]?", text):
        if len(lines[-1]) + len(part) > width and lines[-1]:
            lines.append("")
        lines[-1] += part
    return plain("\n".join(lines), 4 * width)


def save(figure: Figure, name: str, forms: Sequence[FigureFormat]) -> dict[FigureFormat, bytes]:
    """The figure as files, laid out and drawn once for each of them; equal for equal figures.

    Ids in an SVG derive from the name.
    """
    files: dict[FigureFormat, bytes] = {}
    with _style(name):
        if (engine := figure.get_layout_engine()) is not None:
            engine.execute(figure)
        figure.set_layout_engine(None)  # any other, "none" too, has each file drawn twice
        for form in forms:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=form, dpi=DPI, metadata=_NO_DATES[form])
            files[form] = buffer.getvalue()
    return files


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
