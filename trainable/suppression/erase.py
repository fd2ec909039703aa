"""Erase the pixels of the suppressed classes where information enters: in the images, or in a feature map.

Information that is never there need not be removed: linear removals in feature space leak. One path, no block, and
nothing at evaluation. Source: object removal as augmentation, Shetty, Schiele, Fritz, CVPR 2019, arXiv 1812.06707; here
by the labels' own masks and with plain fills.
What is drawn here (noise, blocks, which other image) comes from generators seeded by the drop, so the classes that a
trial draws are those of every other mechanism.

On several ranks it is drawn for the global batch, and other images are those of all ranks; a rank then takes its own.
Shapes: B batch, K channels (3 of images), H W labels, h w what is erased in (the images' H W, or a coarser map).
"""

from dataclasses import dataclass, replace
from typing import Self, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor

from trainable.data.classes import IGNORE_INDEX
from trainable.ranks.group import gathered, own
from trainable.suppression.drop import Drop
from trainable.suppression.mechanism_sections import Erase
from trainable.train.compute import full_precision

NOISE_LEVELS = 10.0
"""Standard deviation of the noise in images, of 255 levels of brightness."""
BLUR_CELLS = 8
"""``blur`` is a thumbnail of so many cells along each side, enlarged bilinearly; of a small map half its cells."""
BLOCKS = 8
"""Blocks are squares of this part of the shorter side of the labels."""


@dataclass(frozen=True)
class Erasure:
    """What a step erases, and what stands in its place."""

    erase: Erase
    mask_BHW: Tensor
    """Erased pixels, bool."""
    seed: int
    ranks: int = 1
    """On how many ranks the batch lies."""
    first: int = 0
    """Place of the first image, where this is a part of a batch."""
    images: int | None = None
    """Images of the whole batch (of this rank); None: this is it."""

    @classmethod
    def of(cls, erase: Erase, labels_BHW: Tensor, drop: Drop) -> Self:
        """The pixels labelled with the suppressed classes, or those that a control erases instead of them."""
        own_BHW = _dilated(drop.covers(labels_BHW), erase.dilate)
        match erase.mask:
            case "class":
                mask_BHW = own_BHW
            case "elsewhere":
                mask_BHW = _of_others(own_BHW, drop.seed, drop.ranks)
            case "blocks":
                mask_BHW = blocks_like(own_BHW, drop.seed, drop.ranks)
            case _:
                assert_never(erase.mask)
        return cls(erase, mask_BHW, drop.seed, drop.ranks)

    def part(self, rows: slice) -> "Erasure":
        """That of some images of the batch, with the same noise; not where another image's pixels are filled in."""
        return replace(self, mask_BHW=self.mask_BHW[rows], first=rows.start, images=len(self.mask_BHW))

    def labels(self, labels_BHW: Tensor) -> Tensor:
        """What the loss sees."""
        return labels_BHW.masked_fill(self.mask_BHW, IGNORE_INDEX) if self.erase.labels == "ignored" else labels_BHW

    def applied(self, values_BKhw: Tensor, deviation_K11: Tensor | None = None) -> Tensor:
        """Images or maps with erased pixels, or cells of which more than half of the pixels are.

        What is filled in is a constant of the step. ``deviation_K11`` is that of the noise; None takes each channel's.
        """
        if self.erase.fill == "none":
            return values_BKhw
        filled_BKhw = self._fill(full_precision(values_BKhw.detach()), deviation_K11).to(values_BKhw.dtype)
        return torch.where(self._cells(values_BKhw.shape[-2:])[:, None], filled_BKhw, values_BKhw)

    def _cells(self, size: torch.Size) -> Tensor:
        if self.mask_BHW.shape[-2:] == size:
            return self.mask_BHW
        return F.adaptive_avg_pool2d(self.mask_BHW.float(), (size[0], size[1])) > 0.5

    def _fill(self, values_BKhw: Tensor, deviation_K11: Tensor | None) -> Tensor:
        match self.erase.fill:
            case "mean":
                return values_BKhw.mean(dim=(2, 3), keepdim=True)
            case "noise":
                if deviation_K11 is None:
                    deviation_K11 = values_BKhw.std(dim=(2, 3), correction=0, keepdim=True)
                mean_BK11 = values_BKhw.mean(dim=(2, 3), keepdim=True)
                return self._noise(values_BKhw).mul_(deviation_K11).add_(mean_BK11)
            case "blur":
                return _blurred(values_BKhw)
            case "swap":
                return _of_others(values_BKhw, self.seed + 1, self.ranks)
            case "none":
                return values_BKhw
            case _:
                assert_never(self.erase.fill)

    def _noise(self, values_BKhw: Tensor) -> Tensor:
        """Standard normal noise in channels_last, as images and maps are: torch draws into it ten times slower."""
        batch, channels, height, width = values_BKhw.shape
        device, dtype = values_BKhw.device, values_BKhw.dtype
        shape = (self.ranks * (self.images or batch), height, width, channels)  # a part has the noise of its place
        drawn = torch.randn(shape, generator=_generator(self.seed, device), device=device, dtype=dtype)
        return _own(drawn, self.ranks)[self.first : self.first + batch].permute(0, 3, 1, 2)


def blocks_like(mask_BHW: Tensor, seed: int, ranks: int = 1) -> Tensor:
    """A mask [B,H,W] of as many pixels in each image, in blocks at random places, of which the last is not whole."""
    batch, height, width = mask_BHW.shape
    side = max(1, min(height, width) // BLOCKS)
    rows_H, columns_W = (torch.arange(length, device=mask_BHW.device) for length in (height, width))
    across = -(-width // side)
    block_HW = (rows_H // side)[:, None] * across + columns_W // side
    place_HW = (rows_H % side)[:, None] * side + columns_W % side
    number = -(-height // side) * across
    generator = _generator(seed, mask_BHW.device)
    draws_BN = _own(torch.rand(ranks * batch, number, generator=generator, device=mask_BHW.device), ranks)
    turn_BN = draws_BN.argsort(dim=1).argsort(dim=1)
    order_BP = (turn_BN[:, block_HW] * side**2 + place_HW).flatten(1).argsort(dim=1).argsort(dim=1)
    return (order_BP < mask_BHW.flatten(1).sum(dim=1, keepdim=True)).view_as(mask_BHW)


def _dilated(mask_BHW: Tensor, pixels: int) -> Tensor:
    if not pixels:
        return mask_BHW
    side = 2 * pixels + 1
    wide_BHW = F.max_pool2d(mask_BHW.float(), (1, side), stride=1, padding=(0, pixels))
    return F.max_pool2d(wide_BHW, (side, 1), stride=1, padding=(pixels, 0)) > 0


def _blurred(values_BKhw: Tensor) -> Tensor:
    height, width = values_BKhw.shape[-2:]
    rows, columns = (max(1, min(BLUR_CELLS, side // 2)) for side in (height, width))
    thumbnail = F.adaptive_avg_pool2d(values_BKhw, (rows, columns))
    return F.interpolate(thumbnail, (height, width), mode="bilinear", align_corners=False)


def _of_others(values: Tensor, seed: int, ranks: int) -> Tensor:
    """In the place of each image's values those of another image of the batch."""
    if ranks == 1:
        return values.roll(_shift(len(values), seed), 0)
    everywhere = gathered(values)
    return _own(everywhere.roll(_shift(len(everywhere), seed), 0), ranks)


def _own(values: Tensor, ranks: int) -> Tensor:
    """What is of this rank's images, of values of a batch that lies on so many ranks."""
    return values if ranks == 1 else values[own(len(values))]


def _shift(images: int, seed: int) -> int:
    """By how many images another one lies away; 0 in a batch of one."""
    return int(torch.randint(1, max(2, images), (), generator=_generator(seed, torch.device("cpu")))) % images


def _generator(seed: int, device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)
