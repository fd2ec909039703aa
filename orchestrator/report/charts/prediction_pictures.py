"""Predictions of several trials on the same frames side by side, from the strips that the trials kept.

A strip (``trainable.data.strip``) has a row per frame: image, truth, prediction; below them a legend. Image, truth and
legend are the first one's; of the others only the prediction is taken.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from trainable.data.strip import COLUMNS, GAP, LINE

QUALITY = 88
"""Of JPEG."""
GREY = 128
"""Of the frame around a cell."""
HEAD = 38
"""Pixels above the columns: a name takes two lines."""
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Cells:
    """Where the cells of a strip lie, in pixels."""

    width: int
    height: int
    rows: int

    @property
    def bottom(self) -> int:
        """Where the legend begins."""
        return LINE + GAP + self.rows * (self.height + GAP)


def cells_of(strip: Pixels) -> Cells | None:
    """The cells of a strip [H,W,3], read off the grey frames of its first column; None where it is none."""
    width = (strip.shape[1] - GAP) // len(COLUMNS) - GAP
    edge = (strip[:, GAP - 1] == GREY).all(axis=1)
    top, rows, height = LINE + GAP - 1, 0, 0
    while top < len(edge) and edge[top]:
        inside = edge[top:]
        length = int(np.argmin(inside)) if not inside.all() else len(inside)
        if rows and length != height + 2:
            break
        rows, height, top = rows + 1, length - 2, top + length - 2 + GAP
    return Cells(width, height, rows) if rows and height > 0 and width > 0 else None


def predictions_side_by_side(strips: Sequence[tuple[str, bytes]]) -> tuple[bytes, list[str]] | None:
    """JPEG of image, truth and each trial's prediction, and the names of the trials in it.

    Args:
        strips: Name and PNG file of each trial; those of other frames or sizes than the first one are left out.

    Returns:
        None where fewer than two show the same frames.

    Raises:
        OSError, SyntaxError: what Pillow says of a damaged picture.
    """
    opened = [(name, np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))) for name, content in strips]
    if not opened or (cells := cells_of(opened[0][1])) is None:
        return None
    first = opened[0][1]
    given = slice(0, GAP + 2 * (cells.width + GAP) - GAP // 2)  # image and truth
    same = [(n, s) for n, s in opened if cells_of(s) == cells and s.shape[1] == first.shape[1]]
    same = [(n, s) for n, s in same if np.array_equal(s[LINE : cells.bottom, given], first[LINE : cells.bottom, given])]
    if len(same) < 2:
        return None
    return _pasted(same, cells, first), [name for name, _ in same]


def _pasted(strips: Sequence[tuple[str, Pixels]], cells: Cells, first: Pixels) -> bytes:
    step, shift = cells.width + GAP, HEAD - LINE
    legends = _legends([strip[cells.bottom :] for _, strip in strips])
    width = max(GAP + (2 + len(strips)) * step, first.shape[1])
    whole = Image.new("RGB", (width, cells.bottom + shift + sum(len(legend) for legend in legends)), "white")
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(size=14)
    whole.paste(Image.fromarray(first[LINE : cells.bottom, : GAP + 2 * step - GAP // 2]), (0, HEAD))
    for column, name in enumerate((*COLUMNS[:2], *(name for name, _ in strips))):
        pen.text((GAP + column * step, 2), _fitted(name, font, cells.width), "black", font)
    for column, (_, strip) in enumerate(strips, start=2):
        prediction = strip[LINE : cells.bottom, GAP // 2 + 2 * step : GAP + 3 * step]
        whole.paste(Image.fromarray(prediction), (GAP // 2 + column * step, HEAD))
    top = cells.bottom + shift
    for legend in legends:
        whole.paste(Image.fromarray(legend), (0, top))
        top += len(legend)
    stream = io.BytesIO()
    whole.save(stream, "JPEG", quality=QUALITY, subsampling=0)
    return stream.getvalue()


def _legends(legends: Sequence[Pixels]) -> list[Pixels]:
    """The different ones: of many classes a strip names those alone that are seen in it."""
    distinct: list[Pixels] = []
    for legend in legends:
        if not any(np.array_equal(legend, one) for one in distinct):
            distinct.append(legend)
    return distinct


def _fitted(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The name on two lines of a cell's width, cut where it needs more."""
    lines: list[str] = []
    rest = name
    while rest and len(lines) < 2:
        size = len(rest)
        while size > 1 and font.getlength(rest[:size]) > width:
            size -= 1
        if size < len(rest) and (space := rest.rfind(" ", 0, size)) > 0:
            size = space + 1
        lines.append(rest[:size].strip())
        rest = rest[size:]
    return "\n".join(lines) + ("…" if rest else "")
