"""The gate over channels and the block that applies it: DropClass at the input of the classifier.

Source: Chu, Kim, Han, NeurIPS 2021, arXiv 2111.00531, and its published code (``lib/models/seg_hrnet.py``).
Shapes: B batch, C classes, K channels, k k the classifier's kernel, h w the feature map.
"""

from typing import Literal, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GateNorm = Literal["none", "mean"]

BN_MOMENTUM = 0.01
"""The official code's, in torch's convention: the share of a new batch in the running statistics."""


def class_gate(weight_CKkk: Tensor, keep_C: Tensor | None, norm: GateNorm) -> Tensor:
    """g_k = sum_c ReLU(m_c W_ck) / sum_c m_c, shape [K]; W is the classifier averaged over its kernel, not detached.

    ``norm="mean"`` divides by the mean over channels, so that the gate starts at the scale of the feature map; a gate
    of zeros stays zero. ``keep_C`` is m, one per class, 1 or 0; None is all ones.
    """
    positive_CK = F.relu(weight_CKkk.mean(dim=(2, 3)))
    # m is 0 or 1, so ReLU(m W) = m ReLU(W); a sum, not a matrix product, which autocast would round to bfloat16
    kept_CK = positive_CK if keep_C is None else keep_C[:, None] * positive_CK
    gate_K = kept_CK.sum(dim=0) / (len(positive_CK) if keep_C is None else keep_C.sum())
    match norm:
        case "none":
            return gate_K
        case "mean":
            return gate_K / gate_K.mean().clamp_min(torch.finfo(gate_K.dtype).tiny)
        case _:
            assert_never(norm)


class SuppressionBlock(nn.Module):
    """A_drop = ReLU(BN(Conv1x1(A * g))); stays in the network at evaluation, with m = 1."""

    def __init__(self, channels: int, gate_norm: GateNorm) -> None:
        """Conv1x1 K->K with bias, initialised like smp's decoders (Kaiming uniform, zero bias), and BatchNorm."""
        super().__init__()
        self.gate_norm: GateNorm = gate_norm
        self.conv = nn.Conv2d(channels, channels, kernel_size=1)
        self.norm = nn.BatchNorm2d(channels, momentum=BN_MOMENTUM)
        nn.init.kaiming_uniform_(self.conv.weight, mode="fan_in", nonlinearity="relu")
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    def forward(self, maps_BKhw: Tensor, weight_CKkk: Tensor, keep_C: Tensor | None) -> Tensor:
        """A_drop [B,K,h,w] of A [B,K,h,w], for the classifier's weights [C,K,k,k] and the keep mask m [C]."""
        gate_K = class_gate(weight_CKkk, keep_C, self.gate_norm)
        # Conv1x1(A * g) == Conv1x1 with its weight scaled along the input channels: no second map A * g in memory.
        weight_KK11 = self.conv.weight * gate_K[None, :, None, None]
        mixed_BKhw = F.conv2d(maps_BKhw, weight_KK11, self.conv.bias)
        return F.relu(self.norm(mixed_BKhw))
