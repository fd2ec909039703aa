"""A loss of one's own in both paths: its code is called and what it gives is checked.

Shapes: P paths, B batch, C classes, H W labels, h w the logits' stride.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from trainable.data.classes import IGNORE_INDEX
from trainable.parts.facts import ClassFacts
from trainable.parts.loading import PartFailed, construct, load_class, own_code
from trainable.parts.loss import Loss, PixelLoss
from trainable.parts.section import OwnPart
from trainable.ranks.group import summed, world
from trainable.suppression.loss import PathLoss, Upsample, path_cross_entropies, weight_of_pixels


def own_loss(section: OwnPart, facts: ClassFacts) -> PathLoss:
    """The loss of each path by a class of one's own; raises `PartFailed`."""
    loaded: type[PixelLoss | Loss] = load_class(section, PixelLoss, Loss)
    return path_loss_of(section.name, construct(section.name, loaded, section.settings), facts)


def path_loss_of(name: str, part: PixelLoss | Loss, facts: ClassFacts) -> PathLoss:
    """The same by an object of such a class."""
    with own_code(name):
        part.begin(facts)
    if isinstance(part, PixelLoss):
        return partial(path_cross_entropies, pixel_loss=partial(_pixels, part, name))
    return partial(_batches, part, name)


def check_reweight(loss: PathLoss, name: str, reweight: Literal["mean", "keep"]) -> None:
    """Refuse to divide a loss of one's own by all labelled pixels that is no mean over pixels.

    Raises:
        PartFailed: it is a loss of regions, and ``suppression.reweight`` is keep.
    """
    if reweight == "keep" and isinstance(loss, partial) and loss.func is _batches:
        rule = "suppression.reweight keep divides by all labelled pixels, of which it is no mean"
        raise PartFailed(f"{name}: {rule}; use mean, or derive it from trainable.parts.PixelLoss")


def _pixels(
    part: PixelLoss, name: str, logits_BCHW: Tensor, labels_BHW: Tensor, class_weights_C: Tensor | None
) -> Tensor:
    with own_code(name):
        losses = part.pixels(logits_BCHW, labels_BHW, class_weights_C)
    _check(losses, labels_BHW.shape, logits_BCHW, f"{name}: pixels()")
    if losses.device.type == "cpu" and bool((losses.detach()[labels_BHW == IGNORE_INDEX] != 0).any()):
        raise PartFailed(f"{name}: pixels() gave a loss for pixels labelled {IGNORE_INDEX}, which are ignored")
    return losses


def _batches(
    part: Loss,
    name: str,
    logits_PBChw: Sequence[Tensor],
    labels_PBHW: Sequence[Tensor],
    upsample: Upsample,
    class_weights_C: Tensor | None = None,
) -> list[Tensor]:
    losses = []
    for logits_BChw, labels_BHW in zip(logits_PBChw, labels_PBHW, strict=True):
        logits_BCHW = upsample(logits_BChw)
        with own_code(name):
            loss = part.batch(logits_BCHW, labels_BHW, class_weights_C)
        _check(loss, torch.Size(()), logits_BCHW, f"{name}: batch()")
        losses.append(loss if world() == 1 else _over_ranks(loss, labels_BHW))
    return losses


def _over_ranks(loss: Tensor, labels_BHW: Tensor) -> Tensor:
    """The mean of the ranks' losses, by their labelled pixels."""
    here = (labels_BHW != IGNORE_INDEX).sum().double()
    return summed(loss * (here / weight_of_pixels(labels_BHW, None)).to(loss.dtype))


def _check(losses: object, shape: torch.Size, logits_BCHW: Tensor, where: str) -> None:
    wanted = f"{list(shape)}" if shape else "a scalar"
    if not isinstance(losses, Tensor):
        raise PartFailed(f"{where} gave a {type(losses).__name__}, not a tensor ({wanted})")
    if losses.shape != shape:
        raise PartFailed(f"{where} gave shape {list(losses.shape)}; expected {wanted}")
    if not losses.is_floating_point():
        raise PartFailed(f"{where} gave {losses.dtype}; expected a float type")
    if logits_BCHW.requires_grad and torch.is_grad_enabled() and not losses.requires_grad:
        raise PartFailed(f"{where} gave a loss that does not depend on the logits: nothing can be trained by it")
    if losses.device.type == "cpu" and not bool(torch.isfinite(losses).all()):
        raise PartFailed(f"{where} gave values that are not finite")
