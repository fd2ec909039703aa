"""What a training step suppresses, as tensors on the trial's device: nothing downstream waits for their values.

Shapes: B batch (on several ranks this rank's images of it), C classes, G groups that share a draw (1: the batch, or B:
one per image), H W labels.
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from trainable.data.classes import IGNORE_INDEX
from trainable.ranks.group import own, world


@dataclass(frozen=True)
class Drop:
    """The classes that a step suppresses; a group may suppress none."""

    keep_GC: Tensor
    """m, float: 1 for a kept class, 0 for a suppressed one."""
    seed: int = 0
    """Seed of whatever a mechanism draws for itself."""
    share: float = 1.0
    """Share of the groups that suppress any class."""
    over_all: bool = False
    """Whether the suppression term is a mean over all images, as over ranks of which some drop nothing; else over those
    that drop."""
    ranks: int = 1
    """On how many ranks the batch lies; on a single one it is whole here."""
    averaged: Tensor | int | None = None
    """Over how many groups of all ranks the suppression term is a mean, where ``keep_GC`` holds those of this rank's
    images; None: it holds all that there are."""
    shares_GC: Tensor | None = None
    """What ``shares`` gives for a part of a batch; None: this is the whole of it."""

    @classmethod
    def of(cls, dropped: int, classes: int, device: torch.device | None = None) -> "Drop":
        """Suppress one class in the whole batch."""
        keep_GC = torch.ones(1, classes, device=device)
        keep_GC[0, dropped] = 0
        return cls(keep_GC)

    def on_this_rank(self) -> Self:
        """The part of a drop of the global batch that is of this rank's images."""
        if world() == 1 or len(self.keep_GC) == 1:
            return replace(self, ranks=world())
        return replace(self, keep_GC=self.keep_GC[own(len(self.keep_GC))], ranks=world(), averaged=self.averages())

    def part(self, rows: slice, images: int) -> Self:
        """The drop of some of the ``images`` that are here: the parts' suppression terms add up to that of them all."""
        if len(self.keep_GC) > 1:
            return replace(self, keep_GC=self.keep_GC[rows], shares_GC=self.shares()[rows])
        return replace(self, shares_GC=self.shares() * ((rows.stop - rows.start) / images))

    def labels(self, labels_BHW: Tensor) -> Tensor:
        """Labels, or predictions, with the pixels of suppressed classes ignored."""
        groups, classes = self.keep_GC.shape
        table_G256 = torch.arange(256, device=labels_BHW.device).expand(groups, 256).clone()
        table_G256[:, :classes].masked_fill_(self.keep_GC == 0, IGNORE_INDEX)
        if groups == 1:
            return table_G256[0].to(labels_BHW.dtype)[labels_BHW]
        return table_G256.to(labels_BHW.dtype).gather(1, labels_BHW.flatten(1)).view_as(labels_BHW)

    def covers(self, labels_BHW: Tensor) -> Tensor:
        """Which pixels are labelled with a suppressed class, bool [B,H,W]."""
        return (self.labels(labels_BHW) == IGNORE_INDEX) & (labels_BHW != IGNORE_INDEX)

    def shares(self) -> Tensor:
        """Weight [G,C] (float64) of each suppressed class in the suppression term, sum 1.

        The term is the mean over the suppressed classes, and over the groups that suppress any (METHOD, "Definitions
        where the paper is silent"); with ``over_all`` over all groups, and what sums to 1 is less.
        """
        if self.shares_GC is not None:
            return self.shares_GC
        dropped_GC = 1 - self.keep_GC.double()  # a third is not exact in float32
        count_G1 = dropped_GC.sum(dim=1, keepdim=True)
        averaged = self.averages() if self.averaged is None else self.averaged
        return dropped_GC / count_G1.clamp_min(1) / averaged

    def averages(self) -> Tensor | int:
        """Over how many of the groups the suppression term is a mean."""
        return len(self.keep_GC) if self.over_all else (self.keep_GC < 1).any(dim=1).sum().clamp_min(1)
