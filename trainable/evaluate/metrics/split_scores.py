"""What one confusion matrix of a whole split cannot tell: calibration, IoU of single images and near boundaries.

Shapes: B batch, C classes, H W image.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from trainable.evaluate.metrics.boundary import boundary_confusion
from trainable.evaluate.metrics.calibration import Calibration
from trainable.evaluate.metrics.confusion import class_ious, image_confusions, mean_iou
from trainable.evaluate.metrics.names import BOUNDARY_MIOU, ECE, RARE_BOUNDARY_MIOU
from trainable.evaluate.metrics.own_metrics import OwnScores
from trainable.evaluate.metrics.per_image import ImageIous
from trainable.ranks.group import summed


class SplitScores:
    """Collects the batches of a split."""

    def __init__(self, classes: int, device: torch.device, own: Sequence[OwnScores] = ()) -> None:
        """Begin without batches; ``own`` are metrics of one's own, which take them too."""
        self.own = tuple(own)
        self.calibration, self.images = Calibration(device), ImageIous()
        self.boundary_DD = torch.zeros(classes + 1, classes + 1, dtype=torch.int64, device=device)

    def add(self, logits_BCHW: Tensor, labels_BHW: Tensor) -> Tensor:
        """Take a batch; returns its confusion matrix int64 [C,C]."""
        predicted_BHW, classes = self.calibration.add(logits_BCHW, labels_BHW), len(self.boundary_DD) - 1
        matrices_BCC = image_confusions(labels_BHW, predicted_BHW, classes)
        self.images.add(matrices_BCC)
        for scores in self.own:
            scores.add(logits_BCHW, labels_BHW)
        self.boundary_DD += boundary_confusion(labels_BHW, predicted_BHW, classes)
        return matrices_BCC.sum(dim=0)

    def gather(self, images: int) -> None:
        """Take what the other ranks collected of a split of so many images, in the order of the images."""
        self.calibration.sums_M3, self.boundary_DD = summed(self.calibration.sums_M3), summed(self.boundary_DD)
        for scores in self.own:
            scores.gather()
        self.images.gather(images, len(self.boundary_DD) - 1, self.boundary_DD.device)

    def metrics(self, rare: Sequence[int]) -> dict[str, float]:
        """Metrics by name; undefined ones are left out."""
        boundary_C = class_ious(self.boundary_DD)[:-1]
        metrics = {
            ECE: self.calibration.error(),
            **self.images.scores(rare),
            BOUNDARY_MIOU: mean_iou(boundary_C, range(len(boundary_C))),
            RARE_BOUNDARY_MIOU: mean_iou(boundary_C, rare),
        }
        defined = {name: value for name, value in metrics.items() if not math.isnan(value)}
        return defined | {name: value for scores in self.own for name, value in scores.metrics().items()}
