"""The block that suppresses classes in a feature map: DropClass at the input of the classifier, or at another layer.

Source: Chu, Kim, Han, NeurIPS 2021, arXiv 2111.00531, and its published code (``lib/models/seg_hrnet.py``).
Shapes: B batch, C classes, K channels, G groups that share a draw (1 or B), h w the feature map, H W labels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainable.parts.section import OwnPart
from trainable.suppression.config import NORM_MOMENTUM, GateNorm, ImportanceSource
from trainable.suppression.drop import Drop
from trainable.suppression.loss import cross_entropy
from trainable.suppression.mechanism import Applied, effective_weight
from trainable.suppression.mechanism_sections import ChannelMechanism
from trainable.suppression.own_mechanism import OwnMechanism
from trainable.suppression.sampling import labels_at
from trainable.train.compute import full_precision

IMPORTANCE_MOMENTUM = 0.1
"""The share of a new step in the running mean of the gradient importance."""


class SuppressionBlock(nn.Module):
    """A_drop = ReLU(BN(Conv1x1(mechanism(A)))); stays in the network at evaluation, with m = 1.

    It also holds what its layer's importance S needs: an auxiliary 1x1 classifier (``auxiliary``), the running mean of
    S (``gradient``), or nothing (``classifier``).
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        mechanism: ChannelMechanism,
        gate_norm: GateNorm,
        source: ImportanceSource,
        gradient_every: int = 1,
        norm_momentum: float = NORM_MOMENTUM,
    ) -> None:
        """Build for a map of ``channels``; ``source`` says where S comes from."""
        super().__init__()
        self.gate_norm: GateNorm = gate_norm
        self.source: ImportanceSource = source
        self.mix = ChannelMix(channels, norm_momentum)
        self.auxiliary = nn.Conv2d(channels, classes, kernel_size=1) if source == "auxiliary" else None
        self.running_importance: Tensor | None
        ones_CK = torch.ones(classes, channels) if source == "gradient" else None
        self.register_buffer("running_importance", ones_CK)
        self.mechanism: Applied = (  # last: what it draws leaves the other weights as they are
            OwnMechanism.of(mechanism, channels, classes) if isinstance(mechanism, OwnPart) else mechanism
        )
        self.gradient_every = gradient_every
        self.steps = 0
        """gradient: training steps so far."""

    def get_extra_state(self) -> dict[str, int]:
        """What the state holds besides tensors."""
        return {"steps": self.steps}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Continue from ``get_extra_state``."""
        self.steps = state["steps"]

    def importance(self, classifier: nn.Conv2d) -> Tensor:
        """S [C,K] of evaluation: the classifier's weights (mean over the kernel), the auxiliary's, or the running mean.

        Only the weights carry gradients. Before any training step the running mean is all ones: an even gate.
        """
        if self.auxiliary is not None:
            return self.auxiliary.weight[:, :, 0, 0]
        if self.running_importance is not None:
            return self.running_importance
        return classifier.weight.mean(dim=(2, 3))

    def next_step_observes(self) -> bool:
        """Count a training step; whether it is one that computes S by gradients."""
        self.steps += 1
        return self.source == "gradient" and (self.steps - 1) % self.gradient_every == 0

    def observe(self, importance_CK: Tensor) -> None:
        """Take a training step's S into the running mean; that of the first step replaces it."""
        assert self.running_importance is not None
        share = 1.0 if self.steps == 1 else IMPORTANCE_MOMENTUM
        self.running_importance.lerp_(importance_CK.to(self.running_importance.dtype), share)

    def auxiliary_loss(self, maps_BKhw: Tensor, labels_BHW: Tensor) -> Tensor | None:
        """Cross-entropy of the auxiliary classifier at the map's stride, all classes alike.

        It trains that classifier alone, not the network below. (The classifier's weights also follow the main loss,
        through the mechanism, as the official classifier's do.)
        """
        if self.auxiliary is None:
            return None
        logits_BChw = full_precision(self.auxiliary(maps_BKhw.detach()))
        return cross_entropy(logits_BChw, labels_at(labels_BHW, logits_BChw.shape[-2:]))

    def forward(self, maps_BKhw: Tensor, importance_CK: Tensor, drop: Drop | None) -> Tensor:
        """A_drop [B,K,h,w] of A [B,K,h,w]."""
        suppressed_BKhw: Tensor = self.mix(maps_BKhw, self._weight(importance_CK, drop))
        return suppressed_BKhw

    def mixed(self, maps_BKhw: Tensor, importance_CK: Tensor, drop: Drop | None) -> Tensor:
        """What ``forward`` normalises, [B,K,h,w]."""
        return self.mix.mixed(maps_BKhw, self._weight(importance_CK, drop))

    def _weight(self, importance_CK: Tensor, drop: Drop | None) -> Tensor:
        with torch.autocast(importance_CK.device.type, enabled=False):  # it would round the gate to bfloat16
            return effective_weight(self.mix.weight, importance_CK, drop, self.mechanism, self.gate_norm)


class ChannelMix(nn.Module):
    """ReLU(BN(Conv1x1(A))) with a convolution weight that is given, because a mechanism is folded into it."""

    def __init__(self, channels: int, norm_momentum: float) -> None:
        """Conv1x1 K->K with bias, initialised like smp's decoders (Kaiming uniform, zero bias), and BatchNorm."""
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=1)
        self.norm = nn.BatchNorm2d(channels, momentum=norm_momentum)
        nn.init.kaiming_uniform_(self.conv.weight, mode="fan_in", nonlinearity="relu")
        nn.init.zeros_(self.bias)

    @property
    def weight(self) -> Tensor:
        """Weight [O,K] before any mechanism."""
        return self.conv.weight[:, :, 0, 0]

    @property
    def bias(self) -> Tensor:
        """Bias [O]."""
        assert self.conv.bias is not None
        return self.conv.bias

    def forward(self, maps_BKhw: Tensor, weight: Tensor) -> Tensor:
        """Map [B,O,h,w] for one weight [O,K], or one [B,O,K] for each image."""
        return F.relu(self.norm(self.mixed(maps_BKhw, weight)))

    def mixed(self, maps_BKhw: Tensor, weight: Tensor) -> Tensor:
        """Conv1x1(A), before it is normalised."""
        if weight.ndim == 2:
            # strides of a channels_last weight: it decides the layout of the output where the map is not channels_last
            weight_OK11 = weight[:, None, None, :].permute(0, 3, 1, 2)
            return F.conv2d(maps_BKhw, weight_OK11, self.bias)
        batch, channels, height, width = maps_BKhw.shape
        pixels_BNK = maps_BKhw.permute(0, 2, 3, 1).reshape(batch, height * width, channels)  # channels_last: a view
        mixed_BNO = torch.baddbmm(self.bias.to(pixels_BNK.dtype), pixels_BNK, weight.mT.to(pixels_BNK.dtype))
        return mixed_BNO.view(batch, height, width, -1).permute(0, 3, 1, 2)


def gradient_importance(logits_BChw: Tensor, maps: Sequence[Tensor]) -> list[Tensor]:
    """S [C,K] of each map [B,K,h,w] by Grad-CAM (2002.11434, eq. 1): each class's gradient, averaged over B h w.

    A class's score is the sum of its logits over the batch and all pixels, so with a 1x1 head at the decoder S is the
    classifier's weight. S is a constant of the step: it carries no gradient.

    Raises:
        RuntimeError: gradients are switched off.
    """
    if not logits_BChw.requires_grad:
        raise RuntimeError("gradient importance needs gradients: train outside of torch.no_grad()")
    rows: list[list[Tensor]] = []
    for score in logits_BChw.sum(dim=(0, 2, 3)):
        gradients = torch.autograd.grad(score, list(maps), retain_graph=True)
        rows.append([full_precision(gradient).mean(dim=(0, 2, 3)) for gradient in gradients])
    return [torch.stack(per_class) for per_class in zip(*rows, strict=True)]
