"""Boundary IoU: the IoU of what lies near the boundary of masks, where large objects count no more than small ones.

Source: Cheng et al., CVPR 2021 (2103.16562). Pixels of a class's mask within a distance d of its contour are compared;
d is 2 % of the image's diagonal, counted along the larger of both axes, and the image's edge is a contour, as in its
authors' code. Pixels are counted over the whole split, as for mIoU; ignored ones are left out.
It costs 1 to 2 % of an evaluation, of shapes with the smallest network and of CamVid at 256x320, so every epoch has it.
Shapes: B batch, H W image, C classes.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from trainable.data.classes import IGNORE_INDEX
from trainable.evaluate.metrics.confusion import confusion_matrix

DIAGONAL_SHARE = 0.02


def boundary_confusion(labels_BHW: Tensor, predicted_BHW: Tensor, classes: int) -> Tensor:
    """Confusion matrix int64 [C+1,C+1] of pixels near the boundaries of truth and prediction; class C is far from it.

    The IoU of its first C classes is their boundary IoU.
    """
    truth_BHW = torch.where(near_boundary(labels_BHW) | (labels_BHW == IGNORE_INDEX), labels_BHW, classes)
    near_BHW = near_boundary(predicted_BHW.to(torch.uint8))
    return confusion_matrix(truth_BHW, torch.where(near_BHW, predicted_BHW, classes), classes + 1)


def near_boundary(labels_BHW: Tensor) -> Tensor:
    """Where another label, or the image's edge, lies within the distance, bool [B,H,W]."""
    height, width = labels_BHW.shape[-2:]
    distance = max(1, round(DIAGONAL_SHARE * math.hypot(height, width)))
    near_BHW = torch.ones_like(labels_BHW, dtype=torch.bool)
    if min(height, width) <= 2 * distance:
        return near_BHW
    largest, smallest = (_extreme(labels_BHW, 2 * distance + 1, of) for of in (torch.maximum, torch.minimum))
    near_BHW[:, distance : height - distance, distance : width - distance] = largest != smallest
    return near_BHW


def _extreme(labels_BHW: Tensor, window: int, of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Largest or smallest label of every square window that lies in the image, by windows of twice the width each."""
    for dim in (1, 2):
        width = 1
        while width < window:
            step = min(width, window - width)
            rest = labels_BHW.shape[dim] - step
            labels_BHW = of(labels_BHW.narrow(dim, 0, rest), labels_BHW.narrow(dim, step, rest))
            width += step
    return labels_BHW
