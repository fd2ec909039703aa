"""Scores from one confusion matrix.

IoU of class c = TP / (TP + FP + FN) over all pixels of a split. A class in neither labels nor predictions has no IoU:
it is NaN here, leaves every mean, and is not reported at all (no key, rather than a NaN in the records). A mean over
no class is NaN and not reported either.
Shapes: C classes, B batch, H W image.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from trainable.data.classes import IGNORE_INDEX
from trainable.evaluate.metrics.names import MIOU, PIXEL_ACCURACY, RARE_MIOU, WORST3_IOU, iou_name


def confusion_matrix(labels_BHW: Tensor, predicted_BHW: Tensor, classes: int) -> Tensor:
    """Pixels of label i predicted as j, int64 [C,C]; ignored pixels are left out."""
    return image_confusions(labels_BHW[None], predicted_BHW[None], classes)[0]


def image_confusions(labels_BHW: Tensor, predicted_BHW: Tensor, classes: int) -> Tensor:
    """The confusion matrix of each image, int64 [B,C,C]."""
    # The ignored pixels get a bin of their own: boolean indexing would copy both maps.
    joint_BHW = labels_BHW.long() * classes + predicted_BHW
    joint_BHW = torch.where(labels_BHW == IGNORE_INDEX, classes * classes, joint_BHW)
    images, bins = len(joint_BHW), classes * classes + 1
    joint_BN = joint_BHW.flatten(1) + bins * torch.arange(images, device=joint_BHW.device)[:, None]
    counts_BM = torch.bincount(joint_BN.flatten(), minlength=images * bins).view(images, bins)
    return counts_BM[:, :-1].reshape(images, classes, classes)


def class_ious(matrix_CC: Tensor) -> Tensor:
    """IoU of each class, float64 [C]; NaN for a class in neither labels nor predictions."""
    hits_C = matrix_CC.diagonal().double()
    return hits_C / (matrix_CC.sum(dim=0) + matrix_CC.sum(dim=1) - hits_C)


def mean_iou(ious_C: Tensor, classes: Iterable[int]) -> float:
    """Mean IoU over those of the given classes that have one; NaN when none has."""
    return float(torch.nanmean(ious_C[list(classes)]).item())


def scores(matrix_CC: Tensor, names: Sequence[str], rare: Sequence[int]) -> dict[str, float]:
    """Metrics of a split by name; undefined ones are left out."""
    ious_C = class_ious(matrix_CC)
    labelled = int(matrix_CC.sum())
    metrics = {
        MIOU: mean_iou(ious_C, range(len(names))),
        RARE_MIOU: mean_iou(ious_C, rare),
        WORST3_IOU: mean_iou(ious_C, ious_C.argsort()[:3].tolist()),  # NaN sorts last
        PIXEL_ACCURACY: float(matrix_CC.diagonal().sum()) / labelled if labelled else math.nan,
        **{iou_name(name): float(iou) for name, iou in zip(names, ious_C, strict=True)},
    }
    return {name: value for name, value in metrics.items() if not math.isnan(value)}
