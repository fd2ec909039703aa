"""Batches that the contracts of losses and metrics give to a part: random, the same each time.

Shapes: B batch, C classes, H W frame.
"""

import torch
from torch import Tensor

from trainable.data.classes import IGNORE_INDEX
from trainable.testing.contract import CLASSES

BATCH, SIDE = 3, 8
"""Frames of a batch; height and width of a frame."""


def tiny_logits() -> Tensor:
    """Logits [B,C,H,W]."""
    return torch.randn(BATCH, CLASSES, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def tiny_labels() -> Tensor:
    """Labels [B,H,W]; the first two rows are ignored."""
    labels_BHW = torch.randint(CLASSES, (BATCH, SIDE, SIDE), generator=torch.Generator().manual_seed(2))
    labels_BHW[:, :2] = IGNORE_INDEX
    return labels_BHW
