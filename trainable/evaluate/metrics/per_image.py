"""IoU of each image instead of all pixels together: small objects count as much as large ones.

Source: fine-grained mIoU, Wang et al., NeurIPS 2023 Datasets and Benchmarks (2310.19252), as its authors' code defines
it: a class has an IoU in an image that is labelled with it, also where it is not predicted; one that is predicted alone
has none there, and lowers the IoU of what it is taken for. (Their special case of two classes is left out.)
Shapes: N images, C classes, B batch.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from trainable.evaluate.metrics.names import (
    CLASS_IMAGE_MIOU,
    IMAGE_MIOU,
    RARE_IMAGE_MIOU,
    WORST_CLASS_IMAGE_MIOU,
    WORST_IMAGE_MIOU,
)
from trainable.ranks.group import placed, world

WORST_SHARE = 0.1
"""A worst decile is the mean of the lowest tenth, rounded down, of one value at least."""


class ImageIous:
    """Collects the class IoUs of each image, float64 [N,C]: all that the scores need, and little beside the frames."""

    def __init__(self) -> None:
        """Begin without images."""
        self.batches: list[Tensor] = []

    def add(self, matrices_BCC: Tensor) -> None:
        """Take the confusion matrices of a batch."""
        hits_BC, labelled_BC = matrices_BCC.diagonal(dim1=1, dim2=2).double(), matrices_BCC.sum(dim=2)
        ious_BC = hits_BC / (labelled_BC + matrices_BCC.sum(dim=1) - hits_BC)
        self.batches.append(ious_BC.masked_fill(labelled_BC == 0, torch.nan))

    def gather(self, images: int, classes: int, device: torch.device) -> None:
        """Take the images of all ranks, of which each has the ``own`` part of so many."""
        if world() > 1:
            nothing_0C = torch.zeros(0, classes, dtype=torch.float64, device=device)
            self.batches = [placed(torch.cat([nothing_0C, *self.batches]), images)]

    def scores(self, rare: Sequence[int]) -> dict[str, float]:
        """Metrics by name; undefined ones are left out."""
        ious_NC = torch.cat(self.batches).cpu()
        ious_N, columns = ious_NC.nanmean(dim=1), list(ious_NC.unbind(dim=1))
        metrics = {
            IMAGE_MIOU: float(ious_N.nanmean()),
            WORST_IMAGE_MIOU: _worst(ious_N),
            CLASS_IMAGE_MIOU: _mean([float(ious_N.nanmean()) for ious_N in columns]),
            WORST_CLASS_IMAGE_MIOU: _mean([_worst(ious_N) for ious_N in columns]),
            RARE_IMAGE_MIOU: _mean([float(columns[c].nanmean()) for c in rare]),
        }
        return {name: value for name, value in metrics.items() if not math.isnan(value)}


def _worst(values_N: Tensor) -> float:
    """Mean of the lowest tenth of the values that are defined; NaN where none is."""
    defined = values_N[~values_N.isnan()].sort().values
    return float(defined[: max(1, int(WORST_SHARE * len(defined)))].mean())


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan
