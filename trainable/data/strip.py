"""A strip of frames as a PNG: image, true labels and predicted labels side by side, above a legend. Imports no torch.

Drawn with Pillow alone: no figure library has to be imported by a worker, and labels keep their pixels.
Shapes: N frames, H W their size, h w a cell of the strip.
"""

import io
from collections.abc import Collection, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from trainable.data.classes import IGNORE_INDEX, ClassMap
from trainable.data.decode import Bytes
from trainable.data.folder_classes import Colour

IGNORED_COLOUR = (255, 255, 255)
COLUMNS = ("image", "truth", "prediction")
CELL_WIDTH = 288
"""Pixels; smaller frames are enlarged by a whole number, larger ones reduced."""
GAP, LINE, SWATCH = 6, 18, 12
PNG_LEVEL = 3
"""Of compression: half the time of Pillow's own, 6, for 4 % more bytes of Grad-CAM maps and 12 % of a strip."""
MAX_WHOLE_LEGEND = 40
"""Up to so many classes the legend has them all; beyond, those that are seen in the strip."""


def draw_strip(
    images_N3HW: Bytes, truths_NHW: Bytes, predictions_NHW: Bytes, classes: ClassMap, rare: Collection[int]
) -> bytes:
    """PNG with a row per frame; rare classes are marked in the legend."""
    height, width = truths_NHW.shape[1:]
    cell = cell_size(height, width)
    seen = _seen(truths_NHW) | _seen(predictions_NHW)
    entries = _legend(classes, rare, seen)
    font = ImageFont.load_default(size=12)
    total = len(COLUMNS) * (cell[0] + GAP) + GAP
    across = max(1, (total - GAP) // (max(int(font.getlength(name)) for name, _ in entries) + SWATCH + 3 * GAP))
    legend_top = LINE + GAP + len(truths_NHW) * (cell[1] + GAP)
    strip = Image.new("RGB", (total, legend_top + -(-len(entries) // across) * LINE + GAP), "white")
    pen = ImageDraw.Draw(strip)
    for column, title in enumerate(COLUMNS):
        pen.text((GAP + column * (cell[0] + GAP), GAP // 2), title, "black", font)
    for row, (image_3HW, truth_HW, predicted_HW) in enumerate(
        zip(images_N3HW, truths_NHW, predictions_NHW, strict=True)
    ):
        labels = [label_picture(label_HW, cell, classes) for label_HW in (truth_HW, predicted_HW)]
        shown = (photograph(image_3HW, cell), *labels)
        for column, picture in enumerate(shown):
            place = (GAP + column * (cell[0] + GAP), LINE + GAP + row * (cell[1] + GAP))
            strip.paste(picture, place)
            pen.rectangle((place[0] - 1, place[1] - 1, place[0] + cell[0], place[1] + cell[1]), outline="grey")
    for number, (name, colour) in enumerate(entries):
        left, top = GAP + number % across * ((total - GAP) // across), legend_top + number // across * LINE
        pen.rectangle((left, top + 2, left + SWATCH, top + 2 + SWATCH), fill=colour, outline="grey")
        pen.text((left + SWATCH + GAP, top), name, "black", font)
    stream = io.BytesIO()
    strip.save(stream, "PNG", compress_level=PNG_LEVEL)
    return stream.getvalue()


def coloured(label_HW: Bytes, classes: ClassMap) -> Bytes:
    """Picture uint8 [H,W,3] of labels in the colours of their classes; ignored pixels are white."""
    palette = np.full((256, 3), 0, dtype=np.uint8)
    palette[: len(classes.colours)] = classes.colours
    palette[IGNORE_INDEX] = IGNORED_COLOUR
    coloured_HW3: Bytes = palette[label_HW]
    return coloured_HW3


def cell_size(height: int, width: int, widest: int = CELL_WIDTH) -> tuple[int, int]:
    """(width, height) of a cell, as Pillow wants it."""
    if width <= widest:
        factor = widest // width
        return width * factor, height * factor
    return widest, max(1, round(height * widest / width))


def photograph(image_3HW: Bytes, cell: tuple[int, int]) -> Image.Image:
    """Reduced smoothly; enlarged so that pixels look like pixels."""
    way = Image.Resampling.BOX if cell[0] < image_3HW.shape[2] else Image.Resampling.NEAREST
    return Image.fromarray(np.ascontiguousarray(image_3HW.transpose(1, 2, 0))).resize(cell, way)


def label_picture(label_HW: Bytes, cell: tuple[int, int], classes: ClassMap) -> Image.Image:
    """Labels have no values in between; coloured last, when there are fewest of them."""
    resized = Image.fromarray(np.ascontiguousarray(label_HW)).resize(cell, Image.Resampling.NEAREST)
    return Image.fromarray(coloured(np.asarray(resized), classes))


def _seen(labels_NHW: Bytes) -> set[int]:
    return set(np.flatnonzero(np.bincount(labels_NHW.ravel(), minlength=256)).tolist())


def _legend(classes: ClassMap, rare: Collection[int], seen: Collection[int]) -> Sequence[tuple[str, Colour]]:
    everything = len(classes.names) <= MAX_WHOLE_LEGEND
    entries = [
        (f"{name} (rare)" if c in rare else name, colour)
        for c, (name, colour) in enumerate(zip(classes.names, classes.colours, strict=True))
        if everything or c in seen
    ]
    return [*entries, ("ignored", IGNORED_COLOUR)] if IGNORE_INDEX in seen else entries
