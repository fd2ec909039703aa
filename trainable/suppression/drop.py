"""What a training step suppresses, as tensors on the trial's device: nothing downstream waits for their values.

Shapes: B batch, C classes, G groups that share a draw (1: the batch, or B: one per image), H W labels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainable.data.classes import IGNORE_INDEX


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

    @classmethod
    def of(cls, dropped: int, classes: int, device: torch.device | None = None) -> "Drop":
        """Suppress one class in the whole batch."""
        keep_GC = torch.ones(1, classes, device=device)
        keep_GC[0, dropped] = 0
        return cls(keep_GC)

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
        dropped_GC = 1 - self.keep_GC.double()  # a third is not exact in float32
        count_G1 = dropped_GC.sum(dim=1, keepdim=True)
        averaged = len(count_G1) if self.over_all else (count_G1 > 0).sum().clamp_min(1)
        return dropped_GC / count_G1.clamp_min(1) / averaged
