"""Cross-entropy that is defined for every batch, and the two-path loss of DropClass.

Source: arXiv 2111.00531, published code; METHOD step 5:
  loss = (1-w) CE(logits, y) + w CE(logits_drop, y with z ignored)
         + 1[dropped] alpha mean_{b,h,w} softmax(logits_drop)_z
Shapes: B batch, C classes, H W labels, h w feature map.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainable.data.classes import IGNORE_INDEX


def cross_entropy(logits_BCHW: Tensor, labels_BHW: Tensor, class_weights_C: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over the pixels that are not ignored, weighted by class as ``torch.nn.CrossEntropyLoss``.

    Without any such pixel, or with weights of zero only, the mean is 0 with zero gradients, where torch gives NaN.
    """
    total = F.cross_entropy(logits_BCHW, labels_BHW, class_weights_C, ignore_index=IGNORE_INDEX, reduction="sum")
    return total / _weight_of_pixels(labels_BHW, class_weights_C).clamp_min(1e-12).to(total.dtype)


def _weight_of_pixels(labels_BHW: Tensor, class_weights_C: Tensor | None) -> Tensor:
    valid_BHW = labels_BHW != IGNORE_INDEX
    if class_weights_C is None:
        return valid_BHW.sum().double().clamp_min(1)
    weights_BHW = class_weights_C[torch.where(valid_BHW, labels_BHW, 0)]
    return (weights_BHW * valid_BHW).sum()


@dataclass(frozen=True)
class PathLosses:
    """The terms of the two-path loss, each a scalar tensor."""

    plain: Tensor
    """CE of the plain path."""
    suppressed: Tensor
    """CE of the suppressed path."""
    probability: Tensor | None
    """Mean probability of the suppressed class; None where no class was dropped."""

    def total(self, weight: float, alpha: float) -> Tensor:
        """The loss: ``weight`` is w, the weight of the suppressed path."""
        loss = (1 - weight) * self.plain + weight * self.suppressed
        return loss if self.probability is None else loss + alpha * self.probability


def without_class(labels_BHW: Tensor, dropped: int | None) -> Tensor:
    """Labels with the pixels of the dropped class ignored."""
    return labels_BHW if dropped is None else labels_BHW.masked_fill(labels_BHW == dropped, IGNORE_INDEX)


def mean_probability(logits_BChw: Tensor, class_id: int) -> Tensor:
    """mean_{b,h,w} softmax(logits)_z, over all pixels, ignored ones too, at the feature map's stride."""
    log_norm_Bhw = torch.logsumexp(logits_BChw, dim=1)
    return (logits_BChw[:, class_id] - log_norm_Bhw).exp().mean()
