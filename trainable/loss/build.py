"""The loss of each path from the ``train.loss`` section, in float32 whatever the network computes in.

Every loss is defined for every batch: ignored pixels have no part in it, and where all pixels are ignored, or weigh
nothing, it is 0 with zero gradients.
On several ranks it is that of the global batch, with gradients by this rank's images (``ranks.group``).
Shapes: P paths, B batch, C classes, H W labels, h w the logits' stride.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import assert_never

import segmentation_models_pytorch as smp
import torch
from torch import Tensor

from trainable.data.classes import IGNORE_INDEX
from trainable.data.statistics import ClassStatistics
from trainable.evaluate.metrics.rare import rare_classes
from trainable.loss.config import CrossEntropy, Dice, Focal, LogitAdjusted, Loss, Lovasz, Ohem
from trainable.loss.own_loss import own_loss
from trainable.parts.facts import ClassFacts
from trainable.parts.section import OwnPart
from trainable.ranks.group import gathered, own, summed, world
from trainable.suppression.loss import (
    PathLoss,
    Upsample,
    path_cross_entropies,
    weight_of_pixels,
    weighted_cross_entropy,
)

_LOVASZ = smp.losses.LovaszLoss(smp.losses.MULTICLASS_MODE, ignore_index=IGNORE_INDEX)


def build_loss(loss: Loss, statistics: ClassStatistics, device: torch.device, names: Sequence[str] = ()) -> PathLoss:
    """The loss of a section; ``statistics`` are those of the training labels, ``names`` the classes'."""
    match loss:
        case CrossEntropy():
            return path_cross_entropies
        case Ohem():
            return partial(_ohem, loss)
        case Focal():
            return partial(path_cross_entropies, pixel_loss=partial(focal, gamma=loss.gamma))
        case Dice():
            return partial(_with_region, dice, loss.ce)
        case Lovasz():
            return partial(_with_region, lovasz, loss.ce)
        case LogitAdjusted():
            shift_C = loss.tau * log_prior(statistics).to(device)
            return partial(path_cross_entropies, pixel_loss=partial(logit_adjusted, shift_C=shift_C))
        case OwnPart():
            return own_loss(loss, ClassFacts(tuple(names), statistics, rare_classes(statistics.pixels)))
        case _:
            assert_never(loss)


def focal(logits_BCHW: Tensor, labels_BHW: Tensor, class_weights_C: Tensor | None, *, gamma: float) -> Tensor:
    """Focal loss [B,H,W] of each pixel, times the weight of its class."""
    ce_BHW = weighted_cross_entropy(logits_BCHW, labels_BHW, None)
    doubt_BHW = -torch.expm1(-ce_BHW)  # 1 - p
    tiny = torch.finfo(doubt_BHW.dtype).tiny  # where p rounds to 1 a power below 1 has an infinite slope
    losses_BHW = doubt_BHW.clamp_min(tiny) ** gamma * ce_BHW
    if class_weights_C is None:
        return losses_BHW
    return losses_BHW * class_weights_C[torch.where(labels_BHW == IGNORE_INDEX, 0, labels_BHW)]


def log_prior(statistics: ClassStatistics) -> Tensor:
    """Log of each class's share of the labelled training pixels, float64 [C]; one without any counts as a pixel."""
    pixels_C = torch.tensor(statistics.pixels, dtype=torch.float64).clamp_min(1)
    return (pixels_C / pixels_C.sum()).log()


def logit_adjusted(
    logits_BCHW: Tensor, labels_BHW: Tensor, class_weights_C: Tensor | None, *, shift_C: Tensor
) -> Tensor:
    """Weighted cross-entropy [B,H,W] of the logits plus ``shift_C``."""
    shifted_BCHW = logits_BCHW + shift_C.to(logits_BCHW.dtype)[:, None, None]
    return weighted_cross_entropy(shifted_BCHW, labels_BHW, class_weights_C)


def _ohem(
    ohem: Ohem,
    logits_PBChw: Sequence[Tensor],
    labels_PBHW: Sequence[Tensor],
    upsample: Upsample,
    class_weights_C: Tensor | None = None,
) -> list[Tensor]:
    hard_PBHW = [hard_pixels(ohem, *path, upsample) for path in zip(logits_PBChw, labels_PBHW, strict=True)]
    means = path_cross_entropies(logits_PBChw, hard_PBHW, upsample, class_weights_C)
    if class_weights_C is None:
        return means
    mean_weights = [weight_of_pixels(hard, class_weights_C) / weight_of_pixels(hard, None) for hard in hard_PBHW]
    return [mean * weight.to(mean.dtype) for mean, weight in zip(means, mean_weights, strict=True)]


@torch.no_grad()
def hard_pixels(ohem: Ohem, logits_BChw: Tensor, labels_BHW: Tensor, upsample: Upsample) -> Tensor:
    """The labels with all but the hard pixels ignored, [B,H,W]: those less probable than the threshold, and the least.

    Where pixels tie for the last place among the least, all of them are kept.
    """
    images = zip(torch.split(logits_BChw, 1), torch.split(labels_BHW, 1), strict=True)
    ce_BHW = torch.cat([weighted_cross_entropy(upsample(logits), labels, None) for logits, labels in images])
    ce_BHW[labels_BHW == IGNORE_INDEX] = -1.0
    kept = (summed((labels_BHW != IGNORE_INDEX).sum()).double() * ohem.min_kept).long().clamp_min(1)
    last_1 = kept.view(1) - 1  # to index by the number itself would wait for the GPU
    least = gathered(ce_BHW).flatten().sort(descending=True).values.index_select(0, last_1)
    easy_BHW = (ce_BHW <= -math.log(ohem.threshold)) & (ce_BHW < least)
    return torch.where(easy_BHW, IGNORE_INDEX, labels_BHW)  # NaN is hard: the trial must fail of it


def _with_region(
    region: Callable[[Tensor, Tensor], Tensor],
    ce: float,
    logits_PBChw: Sequence[Tensor],
    labels_PBHW: Sequence[Tensor],
    upsample: Upsample,
    class_weights_C: Tensor | None = None,
) -> list[Tensor]:
    """A loss of whole regions, which needs all upsampled logits of a path at once, plus the weighted cross-entropy."""
    losses = [
        region(upsample(logits_BChw), labels_BHW)
        for logits_BChw, labels_BHW in zip(logits_PBChw, labels_PBHW, strict=True)
    ]
    if not ce:
        return losses
    ces = path_cross_entropies(logits_PBChw, labels_PBHW, upsample, class_weights_C)
    return [loss + ce * mean for loss, mean in zip(losses, ces, strict=True)]


def dice(logits_BCHW: Tensor, labels_BHW: Tensor) -> Tensor:
    """Mean over the labelled classes of 1 - Dice, pixels of the whole batch together.

    ``smp.losses.DiceLoss`` divides by all classes, also those that the batch does not hold.
    """
    classes_C11 = torch.arange(logits_BCHW.shape[1], device=labels_BHW.device)[:, None, None]
    truth_BCHW = labels_BHW[:, None] == classes_C11
    p_BCHW = logits_BCHW.softmax(dim=1) * (labels_BHW != IGNORE_INDEX)[:, None]
    truth_C, p_C, both_C = (summed(pixels.sum(dim=(0, 2, 3))) for pixels in (truth_BCHW, p_BCHW, p_BCHW * truth_BCHW))
    losses_C = 1 - 2 * both_C / (p_C + truth_C).clamp_min(1e-12)
    present_C = truth_C > 0
    return (losses_C * present_C).sum() / present_C.sum().clamp_min(1)


def lovasz(logits_BCHW: Tensor, labels_BHW: Tensor) -> Tensor:
    """Lovász-Softmax, mean over the labelled classes, pixels of the whole batch together."""
    if world() > 1:
        return lovasz_over_ranks(logits_BCHW, labels_BHW)
    loss: Tensor = _LOVASZ(logits_BCHW.float(), labels_BHW)  # smp's weights of the errors are float32
    return loss.sum()  # a scalar, but of a batch without labelled pixels smp returns an empty tensor


def lovasz_over_ranks(logits_BCHW: Tensor, labels_BHW: Tensor) -> Tensor:
    """The same of the global batch, without its logits on any rank: a class at a time, its errors alone are gathered.

    The weight of an error is a constant that depends on its place among the errors of all ranks.
    """
    p_BCHW, valid_BHW = logits_BCHW.float().softmax(dim=1), labels_BHW != IGNORE_INDEX
    losses, present = [], []
    for c in range(p_BCHW.shape[1]):
        truth_BHW = labels_BHW == c
        errors_BHW = torch.where(valid_BHW, (truth_BHW.to(p_BCHW.dtype) - p_BCHW[:, c]).abs(), 0)
        weight_BHW = _lovasz_weights(errors_BHW.detach(), truth_BHW, valid_BHW)
        losses.append(summed((errors_BHW * weight_BHW).sum()))
        present.append(summed(truth_BHW.sum()) > 0)
    losses_C, present_C = torch.stack(losses), torch.stack(present)
    return (losses_C * present_C).sum() / present_C.sum().clamp_min(1)


def _lovasz_weights(errors_BHW: Tensor, truth_BHW: Tensor, valid_BHW: Tensor) -> Tensor:
    """By how much the Jaccard loss grows with each pixel in the order of falling errors (1705.08790, algorithm 1)."""
    ranked = torch.where(valid_BHW, errors_BHW, -1)  # ignored pixels come last, where they change nothing before them
    order_N = gathered(ranked).flatten().sort(descending=True).indices
    truth_N = gathered(truth_BHW).flatten()[order_N].to(errors_BHW.dtype)
    total = truth_N.sum()
    jaccard_N = 1 - (total - truth_N.cumsum(0)) / (total + (1 - truth_N).cumsum(0))
    steps_N = torch.diff(jaccard_N, prepend=jaccard_N.new_zeros(1))
    weights_N = torch.empty_like(steps_N).scatter_(0, order_N, steps_N)
    return weights_N.view(-1, *errors_BHW.shape[1:])[own(world() * len(errors_BHW))]
