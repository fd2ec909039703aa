"""Expected calibration error, streamed: bins of confidence instead of every pixel's.

Source: Guo et al. 2017 (1706.04599), eq. 5, with 15 bins of equal width.
Shapes: B batch, C classes, H W image, M bins.
"""

import torch
from torch import Tensor

from trainable.data.classes import IGNORE_INDEX

BINS = 15


class Calibration:
    """Sums pixels, right predictions and confidences by bin of the confidence."""

    def __init__(self, device: torch.device) -> None:
        """Begin without pixels."""
        self.sums_M3 = torch.zeros(BINS + 1, 3, dtype=torch.float64, device=device)  # one more bin for ignored pixels

    def add(self, logits_BCHW: Tensor, labels_BHW: Tensor) -> Tensor:
        """Take a batch; returns its predictions [B,H,W], which it had to compute."""
        highest_BHW, predicted_BHW = logits_BCHW.max(dim=1)
        confidence_BHW = (highest_BHW - logits_BCHW.logsumexp(dim=1)).exp().double()
        bins_BHW = (confidence_BHW * BINS).ceil().long().sub_(1).clamp_(0, BINS - 1)  # (low, high], as is customary
        bins = torch.where(labels_BHW == IGNORE_INDEX, BINS, bins_BHW).flatten()
        right_BHW = (predicted_BHW == labels_BHW).double()
        values_N3 = torch.stack([torch.ones_like(confidence_BHW), right_BHW, confidence_BHW], dim=-1).flatten(0, -2)
        self.sums_M3.index_add_(0, bins, values_N3)
        return predicted_BHW

    def bins(self) -> Tensor:
        """Pixels, right ones among them and the sum of their confidences, by bin; float64 [M,3] on the CPU."""
        return self.sums_M3[:BINS].cpu()

    def error(self) -> float:
        """Mean over pixels of |accuracy - confidence| of their bin; NaN without labelled pixels."""
        counted_M3 = self.sums_M3[:BINS]
        return float((counted_M3[:, 1] - counted_M3[:, 2]).abs().sum() / counted_M3[:, 0].sum())
