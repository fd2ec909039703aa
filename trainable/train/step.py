"""The losses of one training step: that of the plain model, or the two paths of DropClass (METHOD steps 2 to 5).

Shapes: B batch, H W crop.
"""

from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trainable.model.segmenter import PlainPass, Segmenter
from trainable.suppression.drop import Drop
from trainable.suppression.loss import PathLoss, PathLosses, path_cross_entropies, suppressed_probability
from trainable.train.clock import PartClock


@dataclass(frozen=True)
class Batch:
    """Input of a step."""

    images_B3HW: Tensor
    """Normalised images."""
    labels_BHW: Tensor
    """Train ids, int64."""


def plain_losses(
    model: Segmenter, batch: Batch, class_weights_C: Tensor | None, path_loss: PathLoss = path_cross_entropies
) -> PathLosses:
    """Cross-entropy, or the loss that stands in its place, of the plain model."""
    logits_BChw = model.plain(batch.images_B3HW).logits_BChw
    (loss,) = path_loss([logits_BChw], [batch.labels_BHW], model.upsample, class_weights_C)
    return PathLosses(loss)


def two_path_losses(
    model: Segmenter,
    batch: Batch,
    drop: Drop | None,
    class_weights_C: Tensor | None,
    clock: PartClock | None = None,
    path_loss: PathLoss = path_cross_entropies,
) -> tuple[PathLosses, PlainPass]:
    """Losses of the plain and the suppressed path, and the plain pass; None drops no class.

    ``path_loss`` stands in the place of the cross-entropy in both paths, not in that of an auxiliary classifier.

    ``clock`` times what is computed for the suppressed path alone: all but the upsampling and cross-entropy it shares.
    """
    plain = model.plain(batch.images_B3HW)
    first = model.layers[0]
    source_BKhw = plain.maps[first].view_as(plain.maps[first])  # a name of its own for the suppressed path's gradient
    with clock.forward() if clock else nullcontext():
        importance = model.importance(plain)
        suppressed_BChw = model.suppressed(replace(plain, maps={**plain.maps, first: source_BKhw}), drop, importance)
        probability = None if drop is None else suppressed_probability(suppressed_BChw, drop)
        auxiliary = [model.block(layer).auxiliary_loss(plain.maps[layer], batch.labels_BHW) for layer in model.layers]
    if clock:
        clock.backward(suppressed_BChw, source_BKhw)
    plain_loss, suppressed_loss = path_loss(
        [plain.logits_BChw, suppressed_BChw],
        [batch.labels_BHW, batch.labels_BHW if drop is None else drop.labels(batch.labels_BHW)],
        model.upsample,
        class_weights_C,
    )
    trained = [loss for loss in auxiliary if loss is not None]
    auxiliary_ce = torch.stack(trained).sum() if trained else None
    share = 0.0 if drop is None else drop.share
    return PathLosses(plain_loss, suppressed_loss, probability, auxiliary_ce, suppressed_BChw.detach(), share), plain
