"""Which images of a batch share a draw.

Shapes: B batch, C classes, G groups that share a draw.
"""

from dataclasses import dataclass
from itertools import accumulate
from typing import Self, assert_never

import torch
from torch import Tensor

from trainable.suppression.config import Granularity, Groups, PerBatch, PerImage


@dataclass(frozen=True)
class Grouping:
    """The images of a batch in groups of neighbours."""

    groups: int
    """G; some may hold no image."""
    group_B: Tensor
    """Group of each image, int64, on the CPU."""

    @classmethod
    def of(cls, granularity: Granularity, images: int) -> Self:
        """Group a batch of so many images."""
        match granularity:
            case PerBatch():
                return cls(1, torch.zeros(images, dtype=torch.int64))
            case PerImage():
                return cls(images, torch.arange(images))
            case Groups():
                sums, total = list(accumulate(granularity.shares)), sum(granularity.shares)
                ends = torch.tensor([(2 * images * upto + total) // (2 * total) for upto in sums])  # halves up
                return cls(len(sums), torch.searchsorted(ends, torch.arange(images), right=True))
            case _:
                assert_never(granularity)

    @property
    def occupied(self) -> Tensor:
        """Which groups hold an image, bool [G]."""
        return torch.bincount(self.group_B, minlength=self.groups) > 0

    def rows(self, values_GC: Tensor) -> Tensor:
        """Values [B,C] of each image's group; of a single group its own [1,C]."""
        return values_GC if self.groups == 1 else values_GC[self.group_B.to(values_GC.device, non_blocking=True)]

    def any_of(self, present_BC: Tensor) -> Tensor:
        """What occurs in any image of each group, bool [G,C]."""
        counts_GC = present_BC.new_zeros(self.groups, present_BC.shape[1])
        return counts_GC.index_add_(0, self.group_B.to(present_BC.device, non_blocking=True), present_BC) > 0
