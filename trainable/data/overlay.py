"""A mask as a picture: in the colours of its classes, alone or laid over its image, above a legend. Imports no torch.

Shapes: y x the picture.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from trainable.data.classes import ClassMap
from trainable.data.decode import Bytes
from trainable.data.strip import GAP, LINE, SWATCH, coloured

OPACITY = 0.55
"""Of the colours over an image."""
NARROWEST = 200
"""Pixels: a legend is at least so wide."""


def colour_picture(mask_yx: Bytes, classes: ClassMap, image: Image.Image | None = None) -> Image.Image:
    """The mask in colours, over its image where there is one; below it a legend of the classes that are seen."""
    picture = Image.fromarray(coloured(mask_yx, classes))
    if image is not None:
        picture = Image.blend(image.convert("RGB"), picture, OPACITY)
    seen = np.flatnonzero(np.bincount(mask_yx.ravel(), minlength=256))
    return _with_legend(picture, classes, [int(c) for c in seen if c < len(classes.names)])


def indexed_picture(mask_yx: Bytes, classes: ClassMap) -> Image.Image:
    """The mask itself, its values the classes' positions, with their colours as the palette that viewers show."""
    picture = Image.frombytes("P", (mask_yx.shape[1], mask_yx.shape[0]), np.ascontiguousarray(mask_yx).tobytes())
    picture.putpalette([channel for colour in classes.colours for channel in colour])
    return picture


def _with_legend(picture: Image.Image, classes: ClassMap, seen: list[int]) -> Image.Image:
    font = ImageFont.load_default(size=12)
    widest = max((int(font.getlength(classes.names[c])) for c in seen), default=0) + SWATCH + 3 * GAP
    width = max(picture.width, widest, NARROWEST)
    across = max(1, width // widest)
    whole = Image.new("RGB", (width, picture.height + -(-len(seen) // across) * LINE + GAP), "white")
    whole.paste(picture, (0, 0))
    pen = ImageDraw.Draw(whole)
    for number, c in enumerate(seen):
        left, top = GAP + number % across * widest, picture.height + GAP // 2 + number // across * LINE
        pen.rectangle((left, top + 2, left + SWATCH, top + 2 + SWATCH), fill=classes.colours[c], outline="grey")
        pen.text((left + SWATCH + GAP, top), classes.names[c], "black", font)
    return whole
