"""What is drawn to augment a batch, apart from what it does to pixels: each rank of a trial draws for the whole batch.

The numbers come in the order of the images, so that a rank knows how its own change without the frames of others; but
``crop_max_share`` looks at the labels inside a crop before it draws the next number, so then a sample of everybody's
labels is read, never an image. Which other image is pasted into one is drawn as well: a rank augments that image too,
where it is not its own, and no pixels pass between ranks.
Shapes: B batch, H W frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from trainable.data.classes import IGNORE_INDEX
from trainable.data.config import Augment, Size
from trainable.data.frames import View

CROP_TRIES = 10
"""Draws of a crop under ``crop_max_share``; the last is taken as it is (mmsegmentation's ``cat_max_ratio``)."""
SHARE_STRIDE = 8
"""Every so many pixels along each axis are counted for ``crop_max_share``: counting all takes longer than copying."""
HUE_SHARE = 0.1
"""Largest turn of the hue, in turns of the colour circle, at photometric strength 1."""


@dataclass(frozen=True)
class Box:
    """The part of a frame that fills the crop once scaled; it may reach beyond the frame."""

    top: int
    left: int
    size: Size


@dataclass(frozen=True)
class Recolouring:
    """Factors of brightness, contrast and saturation, and a turn of the hue."""

    brightness: float
    contrast: float
    saturation: float
    hue: float


@dataclass(frozen=True)
class Draws:
    """Of the images of a batch."""

    boxes: Sequence[Box | None]
    """None: the frame as it is."""
    flip_B: Tensor | None
    """Which images are mirrored, bool on the CPU; None mirrors none."""
    colours: Sequence[Recolouring] | None

    @classmethod
    def of(cls, views: Sequence[View], augment: Augment, generator: torch.Generator) -> Self:
        """Draw for the frames of a batch."""
        boxes = [_box(label_HW, augment, generator) for _, label_HW in views]
        flip_B = torch.rand(len(views), generator=generator) < 0.5 if augment.flip else None
        strength = augment.photometric
        return cls(boxes, flip_B, [_recolouring(strength, generator) for _ in views] if strength else None)

    def only(self, images: Sequence[int]) -> Self:
        """Those of some images of the batch."""
        return replace(
            self,
            boxes=[self.boxes[image] for image in images],
            flip_B=None if self.flip_B is None else self.flip_B[list(images)],
            colours=None if self.colours is None else [self.colours[image] for image in images],
        )


@dataclass(frozen=True)
class Pasting:
    """From which other image of the batch pixels are pasted into each, and whether; both on the CPU."""

    other_B: Tensor
    chosen_B: Tensor

    @classmethod
    def of(cls, images: int, probability: float, generator: torch.Generator) -> Self | None:
        """Draw for a batch of so many images; None for a single one, which has no other."""
        if images == 1:
            return None
        other_B = (torch.arange(images) + torch.randint(1, images, (images,), generator=generator)) % images
        return cls(other_B, torch.rand(images, generator=generator) < probability)

    def on(self, part: slice) -> tuple[list[int], Self]:
        """The images that a part of the batch needs, its own first; and the pasting into it, as places among them."""
        own = list(range(len(self.other_B)))[part]
        sources = [o if c else i for i, o, c in zip(own, self.other_B[part].tolist(), self.chosen_B[part], strict=True)]
        needed = [*own, *sorted(set(sources) - set(own))]
        place = {image: k for k, image in enumerate(needed)}
        other_B = torch.tensor([place[source] for source in sources])
        return needed, replace(self, other_B=other_B, chosen_B=self.chosen_B[part])


def _box(label_HW: Tensor, augment: Augment, generator: torch.Generator) -> Box | None:
    if augment.scale is None and augment.crop is None:
        return None
    crop = augment.crop or (label_HW.shape[0], label_HW.shape[1])
    scale = _uniform(*augment.scale, generator) if augment.scale is not None else 1.0
    size = max(1, round(crop[0] / scale)), max(1, round(crop[1] / scale))
    return _place(label_HW, size, augment.crop_max_share, generator)


def _place(label_HW: Tensor, size: Size, max_share: float | None, generator: torch.Generator) -> Box:
    """A box anywhere in the frame: drawn again while one class fills more than ``max_share`` of it."""
    height, width = label_HW.shape
    for _ in range(1 if max_share is None else CROP_TRIES):
        box = Box(_offset(height - size[0], generator), _offset(width - size[1], generator), size)
        if max_share is None or _largest_share(label_HW, box) <= max_share:
            break
    return box


def _largest_share(label_HW: Tensor, box: Box) -> float:
    """Share of the commonest class among the labelled pixels of a box, by a sample; 1 where none is labelled."""
    rows = slice(max(0, box.top), box.top + box.size[0], SHARE_STRIDE)
    columns = slice(max(0, box.left), box.left + box.size[1], SHARE_STRIDE)
    counts = torch.bincount(label_HW[rows, columns].flatten(), minlength=256)[:IGNORE_INDEX]
    labelled = int(counts.sum())
    return int(counts.max()) / labelled if labelled else 1.0


def _recolouring(strength: float, generator: torch.Generator) -> Recolouring:
    brightness, contrast, saturation = (_uniform(1 - strength, 1 + strength, generator) for _ in range(3))
    return Recolouring(brightness, contrast, saturation, HUE_SHARE * _uniform(-strength, strength, generator))


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()


def _offset(slack: int, generator: torch.Generator) -> int:
    """Where the box begins: in [0, slack], or in [slack, 0] when the box is larger than the frame (slack < 0)."""
    steps = int(torch.randint(abs(slack) + 1, (), generator=generator).item())
    return steps if slack >= 0 else -steps
