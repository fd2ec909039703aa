"""A loss by pixels: Poly-1 (Leng et al., 2204.12511)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from trainable.parts import PixelLoss


class Poly(PixelLoss):
    """Cross-entropy + epsilon (1 - p), p a pixel's probability of its class."""

    def __init__(self, epsilon: float = 1.0) -> None:
        self.epsilon = epsilon

    def pixels(self, logits_BCHW: Tensor, labels_BHW: Tensor, class_weights_C: Tensor | None) -> Tensor:
        """Losses [B,H,W]."""
        ce_BHW = F.cross_entropy(logits_BCHW, labels_BHW, ignore_index=255, reduction="none")
        known_BHW = torch.where(labels_BHW == 255, 0, labels_BHW)
        p_BHW = logits_BCHW.softmax(dim=1).gather(1, known_BHW[:, None])[:, 0]
        losses_BHW = (ce_BHW + self.epsilon * (1 - p_BHW)) * (labels_BHW != 255)
        return losses_BHW if class_weights_C is None else losses_BHW * class_weights_C[known_BHW]
