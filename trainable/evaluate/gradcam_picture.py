"""Grad-CAM maps of some rare classes on the fixed frames of the evaluation split, as a PNG drawn with Pillow alone.

A frame has two rows: its image and the maps at the decoder, its truth and the maps at the encoder's deepest stage.
Shapes: N frames of the split, C classes, Z of them shown, H W a frame.
"""

import io
from collections.abc import Collection, Sequence
from textwrap import wrap

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from trainable.config import TrialConfig
from trainable.data.classes import ClassMap, class_map
from trainable.data.frames import Frames
from trainable.data.mapped import Counts
from trainable.data.strip import GAP, LINE, PNG_LEVEL, cell_size, label_picture, photograph
from trainable.evaluate.gradcam import Place, gradcam, share_inside
from trainable.evaluate.trial_pictures import FRAMES, telling_frames
from trainable.model.segmenter import Segmenter
from trainable.train.compute import Compute

Mask = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
"""Which pixels."""
MOST_CLASSES = 3
CELL_WIDTH = 144
"""Pixels at most: a comparison shows two such pictures side by side."""
LETTER = 6
"""Pixels, at most, of a letter of a long text in the small font."""
OUTLINE = (0, 220, 255)
OPAQUE = 0.8
"""Opacity of a map's maximum."""
DIMMED = 0.6
"""Brightness of the grey frame below a map."""
LABELLED = 0.25
"""A cell's pixel is labelled where this share of what it covers is: thin objects stay."""
PLACES: tuple[Place, ...] = ("decoder", "encoder")
LEGEND = (
    "Grad-CAM at the decoder's map (beside the image) and the encoder's deepest (beside the truth), each in shares of "
    "its maximum. Outlined: labelled as the class; %: share of the map there."
)


def gradcam_picture(
    config: TrialConfig, model: Segmenter, compute: Compute, frames: Frames, rare: Collection[int]
) -> bytes | None:
    """The PNG; None where no rare class is labelled in the fixed frames.

    Raises:
        DataError: the classes of the data set can no longer be read.
    """
    pixels_NC = frames.class_pixels(model.classifier.out_channels)
    fixed = telling_frames(pixels_NC, FRAMES)
    shown = rarest(pixels_NC, fixed, rare)
    if not shown:
        return None
    chosen = [frame for frame in fixed if pixels_NC[frame, shown].any()]
    classes = class_map(config.data)
    rows: list[Image.Image] = []
    for images_13HW, labels_1HW in frames.batches([torch.tensor([index]) for index in chosen]):
        image_3HW, label_HW = images_13HW[0], labels_1HW[0]
        maps = gradcam(model, compute, image_3HW, label_HW, shown)
        rows += [_row(place, maps[place], image_3HW, label_HW, shown, classes) for place in PLACES]
    return _below_heads(rows, [classes.names[z] for z in shown])


def rarest(pixels_NC: Counts, chosen: Sequence[int], rare: Collection[int]) -> list[int]:
    """Up to three rare classes that are labelled in the chosen frames, those with the fewest pixels in the split first.

    From the labels alone, so that all trials of a study show the same.
    """
    labelled = [c for c in sorted(rare) if pixels_NC[list(chosen), c].any()]
    return sorted(labelled, key=lambda c: int(pixels_NC[:, c].sum()))[:MOST_CLASSES]


def _row(
    place: Place, maps_ZHW: Tensor, image_3HW: Tensor, label_HW: Tensor, shown: Sequence[int], classes: ClassMap
) -> Image.Image:
    """The frame, or its truth, and a map of each class."""
    cell = cell_size(label_HW.shape[0], label_HW.shape[1], CELL_WIDTH)
    photo = photograph(image_3HW.numpy(), cell)
    cells = [photo if place == "decoder" else label_picture(label_HW.numpy(), cell, classes)]
    for z, map_HW in zip(shown, maps_ZHW, strict=True):
        inside_HW = label_HW == z
        if bool(inside_HW.any()):
            share = share_inside(map_HW, inside_HW)
            cells.append(_heat(map_HW, inside_HW, photo))
            _note(cells[-1], "zero" if share is None else f"{100 * share:.0f} %")
        else:
            cells.append(Image.new("RGB", cell, "#e8e8e8"))
            _note(cells[-1], "not in it")
    row = Image.new("RGB", (len(cells) * (cell[0] + GAP) + GAP, cell[1] + GAP), "white")
    for column, picture in enumerate(cells):
        row.paste(picture, (GAP + column * (cell[0] + GAP), 0))
    return row


def _heat(map_HW: Tensor, inside_HW: Tensor, photo: Image.Image) -> Image.Image:
    """The map from transparent by red to yellow over the grey frame, and the outline of the class's pixels."""
    cell = photo.size
    largest = float(map_HW.max())
    heat_HW = Image.fromarray((map_HW / largest if largest > 0 else map_HW).numpy())
    heat_hw1 = np.asarray(heat_HW.resize(cell, Image.Resampling.BILINEAR)).clip(0, 1)[:, :, None]
    grey_hw1 = np.asarray(photo.convert("L"), dtype=np.float32)[:, :, None] * DIMMED
    opacity_hw1 = OPAQUE * heat_hw1
    colour_hw3 = np.concatenate([np.full_like(heat_hw1, 255), 255 * heat_hw1, np.zeros_like(heat_hw1)], axis=2)
    picture_hw3 = grey_hw1 * (1 - opacity_hw1) + colour_hw3 * opacity_hw1
    inside_hw = Image.fromarray(inside_HW.float().numpy()).resize(cell, Image.Resampling.BOX)
    picture_hw3[outline(np.asarray(inside_hw) >= LABELLED)] = OUTLINE
    return Image.fromarray(picture_hw3.astype(np.uint8))


def outline(inside_hw: Mask) -> Mask:
    """The pixels inside that have a neighbour outside; beyond the frame nothing is outside."""
    padded = np.pad(inside_hw, 1, mode="edge")
    inner_hw = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside_hw & ~inner_hw


def _note(cell: Image.Image, text: str) -> None:
    """A text in the upper left corner."""
    pen, font = ImageDraw.Draw(cell), ImageFont.load_default(size=11)
    pen.rectangle((0, 0, pen.textlength(text, font) + 5, 14), fill="white")
    pen.text((3, 0), text, "black", font)


def _below_heads(rows: Sequence[Image.Image], names: Sequence[str]) -> bytes:
    """All rows below the names of the classes, above the legend."""
    width, height = rows[0].size
    lines = wrap(LEGEND, (width - 2 * GAP) // LETTER)
    whole = Image.new("RGB", (width, LINE + len(rows) * height + len(lines) * LINE + GAP), "white")
    pen, heads, small = ImageDraw.Draw(whole), ImageFont.load_default(size=12), ImageFont.load_default(size=11)
    step = (width - GAP) // (len(names) + 1)
    for column, text in enumerate(("image, truth", *names)):
        pen.text((GAP + column * step, 0), _fitting(text, heads, step - GAP), "black", heads)
    for number, row in enumerate(rows):
        whole.paste(row, (0, LINE + number * height))
    for number, line in enumerate(lines):
        pen.text((GAP, LINE + len(rows) * height + number * LINE), line, "black", small)
    stream = io.BytesIO()
    whole.save(stream, "PNG", compress_level=PNG_LEVEL)
    return stream.getvalue()


def _fitting(text: str, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont", width: int) -> str:
    """The text, cut where it is wider."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
