"""Cross-entropy (or another pixel's loss) that is defined for every batch, and the two-path loss of DropClass.

Source: arXiv 2111.00531, published code; METHOD step 5:
  loss = (1-w) CE(logits, y) + w CE(logits_drop, y with z ignored)
         + 1[dropped] alpha mean_{b,h,w} softmax(logits_drop)_z
On several ranks every loss is that of the global batch, with gradients by this rank's images (``ranks.group``).
Shapes: B batch, C classes, P paths, G groups that share a draw, H W labels, h w feature map.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from trainable.data.classes import IGNORE_INDEX
from trainable.ranks.group import summed
from trainable.suppression.drop import Drop

Upsample = Callable[[Tensor], Tensor]
PixelLoss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Loss [B,H,W] of each pixel from logits [B,C,H,W], labels [B,H,W] and class weights [C]; 0 where it is ignored."""
PathLoss = Callable[[Sequence[Tensor], Sequence[Tensor], Upsample, Tensor | None], list[Tensor]]
"""Loss of each path from its logits [B,C,h,w], its labels [B,H,W], the upsampling and class weights [C]."""

CHUNK = 2**20
"""Full-resolution logits that are worked on at once; at least one image of each path."""


def cross_entropy(logits_BCHW: Tensor, labels_BHW: Tensor, class_weights_C: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over the pixels that are not ignored, weighted by class as ``torch.nn.CrossEntropyLoss``.

    Without any such pixel, or with weights of zero only, the mean is 0 with zero gradients, where torch gives NaN.
    """
    (loss,) = path_cross_entropies([logits_BCHW], [labels_BHW], torch.nn.Identity(), class_weights_C)
    return loss


def weighted_cross_entropy(logits_BCHW: Tensor, labels_BHW: Tensor, class_weights_C: Tensor | None) -> Tensor:
    """Cross-entropy [B,H,W] of each pixel, times the weight of its class; 0 where it is ignored."""
    return F.cross_entropy(logits_BCHW, labels_BHW, class_weights_C, ignore_index=IGNORE_INDEX, reduction="none")


def path_cross_entropies(
    logits_PBChw: Sequence[Tensor],
    labels_PBHW: Sequence[Tensor],
    upsample: Upsample,
    class_weights_C: Tensor | None = None,
    pixel_loss: PixelLoss = weighted_cross_entropy,
) -> list[Tensor]:
    """Mean cross-entropy of each path's upsampled logits, as ``cross_entropy`` defines it; or of another pixel's loss.

    The paths share the upsampling, and neither the logits [B,C,H,W] nor their gradient are kept: each chunk of images
    is upsampled, scored and differentiated at once, and only the gradient at the map's stride waits for ``backward``.
    """
    weights = None if class_weights_C is None else class_weights_C.to(logits_PBChw[0].dtype)
    labels = torch.stack(list(labels_PBHW))
    sums_P = summed(_UpsampledPixelLoss.apply(upsample, pixel_loss, weights, labels, *logits_PBChw))
    return [
        total / weight_of_pixels(labels_BHW, class_weights_C).clamp_min(1e-12).to(total.dtype)
        for total, labels_BHW in zip(sums_P, labels_PBHW, strict=True)
    ]


class _UpsampledPixelLoss(torch.autograd.Function):
    """Sum [P] of the pixels' losses over the pixels of each path; differentiable once, by the logits alone."""

    @staticmethod
    def forward(
        ctx: Any,
        upsample: Upsample,
        pixel_loss: PixelLoss,
        weights_C: Tensor | None,
        labels_PBHW: Tensor,
        *logits_PBChw: Tensor,
    ) -> Tensor:
        differentiate = any(ctx.needs_input_grad)
        paths, batch = labels_PBHW.shape[:2]
        pixels = logits_PBChw[0].shape[1] * labels_PBHW[0, 0].numel()
        step = max(1, CHUNK // (paths * pixels))
        sums_P = logits_PBChw[0].new_zeros(paths)
        gradients = [torch.empty_like(logits) for logits in logits_PBChw] if differentiate else []
        for first in range(0, batch, step):
            part = slice(first, min(first + step, batch))
            leaf = torch.cat([logits[part] for logits in logits_PBChw]).requires_grad_(differentiate)
            with torch.set_grad_enabled(differentiate):
                losses = pixel_loss(upsample(leaf), labels_PBHW[:, part].flatten(0, 1), weights_C)
            sums_P += losses.detach().view(paths, -1).sum(dim=1)
            if differentiate:
                (gradient,) = torch.autograd.grad(losses, leaf, torch.ones_like(losses))
                for whole, chunk in zip(gradients, gradient.chunk(paths), strict=True):
                    whole[part] = chunk
        ctx.save_for_backward(*gradients)
        return sums_P

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        (upstream_P,) = upstream
        gradients = (g * gradient for g, gradient in zip(upstream_P, ctx.saved_tensors, strict=True))
        return None, None, None, None, *gradients


def weight_of_pixels(labels_BHW: Tensor, class_weights_C: Tensor | None) -> Tensor:
    """Sum of the class weights over the pixels that are not ignored; without weights their number, 1 at least."""
    valid_BHW = labels_BHW != IGNORE_INDEX
    if class_weights_C is None:
        return summed(valid_BHW.sum()).double().clamp_min(1)
    weights_BHW = class_weights_C[torch.where(valid_BHW, labels_BHW, 0)]
    return summed((weights_BHW * valid_BHW).sum())


@dataclass(frozen=True)
class PathLosses:
    """The terms of the two-path loss, each a scalar tensor."""

    plain: Tensor
    """CE of the plain path, or the loss that stands in its place."""
    suppressed: Tensor | None = None
    """The same of the suppressed path; None for the plain model."""
    probability: Tensor | None = None
    """Mean probability of the suppressed classes; None where no class was dropped."""
    auxiliary: Tensor | None = None
    """CE of the auxiliary classifiers, summed; None where there are none."""
    predicted: Tensor | None = None
    """Logits [B,C,h,w] of the suppressed path, without gradient."""
    dropped_share: float = 0.0
    """Share of the draws (one for the batch, or one per image) that suppressed a class."""

    def times(self, plain: Tensor, suppressed: Tensor) -> Self:
        """The cross-entropies times a factor each."""
        scaled = None if self.suppressed is None else self.suppressed * suppressed.to(self.suppressed.dtype)
        return replace(self, plain=self.plain * plain.to(self.plain.dtype), suppressed=scaled)

    def detached(self) -> Self:
        """The same values without gradients."""
        terms: dict[str, Any] = {name: v.detach() for name, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **terms)

    def total(self, weight: float, alpha: float) -> Tensor:
        """The loss: ``weight`` is w, the weight of the suppressed path."""
        loss = self.plain if self.suppressed is None else (1 - weight) * self.plain + weight * self.suppressed
        if self.probability is not None:
            loss = loss + alpha * self.probability
        return loss if self.auxiliary is None else loss + self.auxiliary


def suppressed_probability(logits_BChw: Tensor, drop: Drop) -> Tensor:
    """mean_{b,h,w} softmax(logits)_z, over all pixels, ignored ones too, at the feature map's stride.

    Several dropped classes: the mean over them; per image: the mean over the images that drop.
    """
    mean_BC = logits_BChw.softmax(dim=1).mean(dim=(2, 3))
    if drop.averaged is not None:
        return summed((drop.shares().to(mean_BC.dtype) * mean_BC).sum())
    mean_GC = mean_BC if len(drop.keep_GC) > 1 else _mean_of_batch(mean_BC, drop.ranks)
    return (drop.shares().to(mean_GC.dtype) * mean_GC).sum()


def _mean_of_batch(values_BC: Tensor, ranks: int) -> Tensor:
    mean_1C = values_BC.mean(dim=0, keepdim=True)
    return mean_1C if ranks == 1 else summed(mean_1C) / ranks
