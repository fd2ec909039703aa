"""Built-in scenes that measure how much a model relies on context: long-tailed, context-biased shapes.

The model of bias. An image is cut by a straight line into two context regions, ``meadow`` and ``sand``. Objects lie
in it, up to one per quadrant: disks, and (rare, smaller) squares. Each shape is a pair of classes, ``rising`` and
``falling``, equal in shape, size and colour; they differ only in the orientation of a faint stripe. One class of a
pair belongs to the meadow, its partner to the sand (crosswise between the shapes):

    own context    meadow          sand
    disk           disk_rising     disk_falling
    square         square_falling  square_rising

In training an object lies in its own context with probability rho, so a model can score well from the context alone
and need not learn the stripe. Four evaluation splits hold *the same scenes* (positions, shapes, noise):

    aligned   every object in its own context
    uniform   every object in either context with probability one half: context says nothing
    swapped   every object in its partner's context: context says the opposite
    masked    as aligned, but the context is a flat grey whose pixels are ignored: there is only the stripe to go by

Between the first three only stripes turn; the last only hides the context.

How to read the gap (object mIoU aligned minus swapped): a model that reads the stripe scores alike on both, gap 0; a
model that reads the context alone takes every swapped object for its partner, so swapped falls towards 0 and the gap
is as large as the aligned score. Uniform lies between the two and is the score to expect where the bias is gone.
Masked tells apart what a small gap may mean: a model that reads the stripe keeps its score there, one that tells shapes
from the background but reads neither stripe nor context has half its pixels right. Its images are unlike any in
training (a shift of its own), so compare it between models, not with the other splits; and no background can be taken
for an object in it, so it is no bound for them.

The long tail: a context holds about 100 times the pixels of a square class, disks lie between. Rare-class scores
therefore carry context bias and rarity at once.

Shapes: N scenes, Q quadrants (one object at most in each), H W image.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from trainable.data.classes import IGNORE_INDEX, SHAPES
from trainable.data.config import ShapesData

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

Context = Literal["aligned", "uniform", "swapped", "masked"]
CONTEXTS: dict[Context, float] = {"aligned": 1.0, "uniform": 0.5, "swapped": 0.0, "masked": 1.0}
"""Probability of an object's own context in each evaluation split."""

STRIPE_AMPLITUDE = 7.0
"""Brightness of a stripe above and below its object's colour, of 255. Fainter than the noise: plain training leans on
the context long before it reads the stripe (at the setting of ``shapes.yaml``, two seeds: object mIoU 0.94 and 0.89
aligned, 0.00 and 0.00 swapped), yet it can be read: without bias (rho 0.5) thirty epochs reach 0.95 or more in every
context."""
STRIPE_PERIOD = 6.0
"""Pixels from one stripe to the next along each axis."""
NOISE = 10.0
"""Standard deviation of the pixel noise."""
OBJECT_SHARE = 0.8
"""Probability that a quadrant holds an object."""
SQUARE_SHARE = 0.16
"""Share of squares among the objects: a hundred context pixels for one of a square class (of 64x64 pixels)."""

COLOURS = {
    "meadow": (95, 140, 75),
    "sand": (190, 170, 120),
    "mask": (128, 128, 128),
    "disk": (150, 95, 100),
    "square": (95, 105, 160),
}


OBJECT_CLASSES = tuple(i for i, name in enumerate(SHAPES) if name.endswith(("_rising", "_falling")))
"""Train ids of the object classes, over which the gap is computed."""


@dataclass(frozen=True)
class Objects:
    """One object per scene, all in the same quadrant; arrays of shape [N]."""

    present: Bools
    square: Bools
    own_context: Bools
    row: Floats
    column: Floats
    radius: Floats
    phase: Floats


def make_scenes(data: ShapesData, split: Literal["train", "val"], context: Context | float) -> tuple[Bytes, Bytes]:
    """Images uint8 [N,3,H,W] and labels uint8 [N,H,W]; the same for the same section and arguments.

    Args:
        data: size, number of scenes and seed.
        split: which scenes; training and evaluation scenes never share random numbers.
        context: an evaluation split, or the probability that an object lies in its own context. Two values give the
            same scenes otherwise.
    """
    own_context = CONTEXTS[context] if isinstance(context, str) else context
    rng = np.random.default_rng((data.seed % 2**64, 0 if split == "train" else 1))
    count = data.train_images if split == "train" else data.val_images
    height, width = data.size
    distance_NHW = _signed_distance(rng, count, height, width)
    meadow_NHW = distance_NHW > 0
    images_NHW3 = np.where(meadow_NHW[..., None], _colour("meadow"), _colour("sand")).astype(np.float32)
    labels_NHW = np.where(meadow_NHW, SHAPES.index("meadow"), SHAPES.index("sand")).astype(np.uint8)
    for quadrant in range(4):
        objects = _draw_objects(rng, distance_NHW, quadrant, own_context)
        _paint(images_NHW3, labels_NHW, objects, meadow_NHW)
    if context == "masked":
        background_NHW = ~np.isin(labels_NHW, OBJECT_CLASSES)
        images_NHW3[background_NHW] = _colour("mask")
        labels_NHW[background_NHW] = IGNORE_INDEX
    images_NHW3 += rng.normal(0, NOISE, images_NHW3.shape).astype(np.float32)
    images_N3HW = np.ascontiguousarray(images_NHW3.clip(0, 255).astype(np.uint8).transpose(0, 3, 1, 2))
    return images_N3HW, labels_NHW


def _colour(name: str) -> Floats:
    return np.array(COLOURS[name], dtype=np.float32)


def _signed_distance(rng: np.random.Generator, count: int, height: int, width: int) -> Floats:
    """Distance in pixels to a random line near the centre, positive on the meadow's side, [N,H,W]."""
    angle_N11 = _uniform(rng, count, 0, 2 * np.pi)[:, None, None]
    offset_N11 = _uniform(rng, count, -0.1, 0.1)[:, None, None] * min(height, width)
    rows_H1 = np.arange(height, dtype=np.float32)[:, None] - height / 2
    columns_W = np.arange(width, dtype=np.float32) - width / 2
    distance_NHW: Floats = np.sin(angle_N11) * rows_H1 + np.cos(angle_N11) * columns_W - offset_N11
    return distance_NHW


def _draw_objects(rng: np.random.Generator, distance_NHW: Floats, quadrant: int, own_context: float) -> Objects:
    """Draw an object in one quadrant of every scene; absent where it would lie across the line."""
    count, height, width = distance_NHW.shape
    square = _uniform(rng, count, 0, 1) < SQUARE_SHARE
    share = np.where(square, _uniform(rng, count, 0.06, 0.085), _uniform(rng, count, 0.10, 0.16))
    radius = share * min(height, width)
    row = (quadrant // 2 + _uniform(rng, count, 0.35, 0.65)) * height / 2
    column = (quadrant % 2 + _uniform(rng, count, 0.35, 0.65)) * width / 2
    to_line = distance_NHW[np.arange(count), row.astype(int), column.astype(int)]
    return Objects(
        present=(_uniform(rng, count, 0, 1) < OBJECT_SHARE) & (np.abs(to_line) > radius),
        square=square,
        own_context=_uniform(rng, count, 0, 1) < own_context,
        row=row,
        column=column,
        radius=radius,
        phase=_uniform(rng, count, 0, 2 * np.pi),
    )


def _uniform(rng: np.random.Generator, count: int, low: float, high: float) -> Floats:
    return rng.random(count, dtype=np.float32) * (high - low) + low


def _paint(images_NHW3: Floats, labels_NHW: Bytes, objects: Objects, meadow_NHW: Bools) -> None:
    """Paint the objects with their stripes into images and labels, in place."""
    height, width = labels_NHW.shape[1:]
    rows_NHW = np.arange(height, dtype=np.float32)[None, :, None] - objects.row[:, None, None]
    columns_NHW = np.arange(width, dtype=np.float32)[None, None, :] - objects.column[:, None, None]
    square_N11, radius_N11 = objects.square[:, None, None], objects.radius[:, None, None]
    disk_NHW = rows_NHW**2 + columns_NHW**2 <= radius_N11**2
    box_NHW = np.maximum(np.abs(rows_NHW), np.abs(columns_NHW)) <= radius_N11
    inside_NHW = np.where(square_N11, box_NHW, disk_NHW) & objects.present[:, None, None]

    rising_N = _rising(objects, meadow_NHW)
    slope_N11 = np.where(rising_N, 1, -1)[:, None, None]  # rows grow downwards: x + y constant along a rising stripe
    wave_NHW = np.sin(2 * np.pi * (columns_NHW + slope_N11 * rows_NHW) / STRIPE_PERIOD + objects.phase[:, None, None])
    colour_N3 = np.where(objects.square[:, None], _colour("square"), _colour("disk"))
    painted_NHW3 = colour_N3[:, None, None, :] + STRIPE_AMPLITUDE * np.sign(wave_NHW)[..., None]
    np.copyto(images_NHW3, painted_NHW3, where=inside_NHW[..., None], casting="same_kind")
    np.copyto(labels_NHW, _class_ids(objects.square, rising_N)[:, None, None], where=inside_NHW)


def _rising(objects: Objects, meadow_NHW: Bools) -> Bools:
    """Orientation of each object's stripe [N], from the context at its centre (see the table above)."""
    count = len(objects.row)
    on_meadow = meadow_NHW[np.arange(count), objects.row.astype(int), objects.column.astype(int)]
    rising_at_home = on_meadow ^ objects.square
    rising: Bools = np.where(objects.own_context, rising_at_home, ~rising_at_home)
    return rising


def _class_ids(square_N: Bools, rising_N: Bools) -> Bytes:
    """Train id of each object [N]; ``SHAPES`` lists the rising class of a shape right before the falling one."""
    first_N = np.where(square_N, SHAPES.index("square_rising"), SHAPES.index("disk_rising"))
    return (first_N + ~rising_N).astype(np.uint8)
