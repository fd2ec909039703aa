"""The losses of one training step: of the plain model, the two paths of DropClass (METHOD steps 2 to 5), or erasing.

Shapes: B batch, H W crop.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trainable.model.segmenter import PlainPass, Segmenter
from trainable.model.stages import Edit
from trainable.suppression.block import SuppressionBlock
from trainable.suppression.config import Layer, SuppressionConfig
from trainable.suppression.drop import Drop
from trainable.suppression.erase import NOISE_LEVELS, Erasure
from trainable.suppression.loss import (
    PathLoss,
    PathLosses,
    path_cross_entropies,
    suppressed_probability,
    weight_of_pixels,
)
from trainable.suppression.sampling import labels_at
from trainable.train.clock import PartClock
from trainable.train.compute import Compute


@dataclass(frozen=True)
class Batch:
    """Input of a step."""

    images_B3HW: Tensor
    """Normalised images."""
    labels_BHW: Tensor
    """Train ids, int64."""
    whole_BHW: Tensor | None = None
    """Labels of the whole batch, of which this is a part; None: it is whole."""


def plain_losses(
    model: Segmenter, batch: Batch, class_weights_C: Tensor | None, path_loss: PathLoss = path_cross_entropies
) -> PathLosses:
    """Cross-entropy, or the loss that stands in its place, of the plain model."""
    logits_BChw = model.plain(batch.images_B3HW).logits_BChw
    (loss,) = path_loss([logits_BChw], [batch.labels_BHW], model.upsample, class_weights_C)
    return PathLosses(loss)


def suppressed_losses(
    model: Segmenter,
    batch: Batch,
    drop: Drop | None,
    suppression: SuppressionConfig,
    compute: Compute,
    class_weights_C: Tensor | None,
    clock: PartClock | None = None,
    path_loss: PathLoss = path_cross_entropies,
) -> PathLosses:
    """Losses of a step that may suppress classes: of two paths, or of one where no layer has a block."""
    with clock.forward() if clock else nullcontext():
        seen, edits = erased(batch, drop, suppression, compute)
    if model.layers:
        terms, _ = two_path_losses(model, seen, drop, class_weights_C, clock, path_loss)
    else:
        terms = erased_losses(model, seen, edits, class_weights_C, path_loss)
    if drop is None:
        return terms
    terms = replace(terms, dropped_share=drop.share)
    if suppression.reweight == "mean":
        return terms
    left_PBHW = (seen.labels_BHW, drop.labels(seen.labels_BHW))
    return terms.times(*(share(left_BHW, batch.labels_BHW, class_weights_C) for left_BHW in left_PBHW))


def erased(
    batch: Batch, drop: Drop | None, suppression: SuppressionConfig, compute: Compute
) -> tuple[Batch, dict[Layer, Edit]]:
    """The batch after erasing in its images, and what erases in the maps of each layer; as it is without a drop."""
    seen, erasure = erased_input(batch, drop, suppression, compute)
    return seen, map_edits(erasure, suppression)


def erased_input(
    batch: Batch, drop: Drop | None, suppression: SuppressionConfig, compute: Compute
) -> tuple[Batch, Erasure | None]:
    """The batch after erasing in its images, and what erases; without a drop it is as it was."""
    if drop is None or suppression.erase is None:
        return batch, None
    erasure = Erasure.of(suppression.erase, batch.labels_BHW, drop)
    images_B3HW = batch.images_B3HW
    if "input" in suppression.erased:
        images_B3HW = erasure.applied(images_B3HW, compute.levels(NOISE_LEVELS))
    return Batch(images_B3HW, erasure.labels(batch.labels_BHW)), erasure


def map_edits(erasure: Erasure | None, suppression: SuppressionConfig) -> dict[Layer, Edit]:
    """What erases in the maps of each layer."""
    return {layer: erasure.applied for layer in suppression.erased if erasure and layer != "input"}


def share(left_BHW: Tensor, labels_BHW: Tensor, class_weights_C: Tensor | None) -> Tensor:
    """Weight of the labelled pixels that are left, as a share of that of ``labels_BHW``."""
    left, whole = (weight_of_pixels(labels, class_weights_C) for labels in (left_BHW, labels_BHW))
    return left / whole.clamp_min(1e-12)


def erased_losses(
    model: Segmenter,
    batch: Batch,
    edits: Mapping[Layer, Edit],
    class_weights_C: Tensor | None,
    path_loss: PathLoss = path_cross_entropies,
) -> PathLosses:
    """Loss of the one path of a model without blocks, in which the map of each layer is edited."""
    logits_BChw = model.edited(batch.images_B3HW, edits)
    (loss,) = path_loss([logits_BChw], [batch.labels_BHW], model.upsample, class_weights_C)
    return PathLosses(loss, predicted=logits_BChw.detach())


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
        auxiliary = [_auxiliary_loss(model.block(layer), plain.maps[layer], batch) for layer in model.layers]
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


def _auxiliary_loss(block: SuppressionBlock, maps_BKhw: Tensor, batch: Batch) -> Tensor | None:
    """Cross-entropy of the block's auxiliary classifier; of a part of a batch its part."""
    loss = block.auxiliary_loss(maps_BKhw, batch.labels_BHW)
    if loss is None or batch.whole_BHW is None:
        return loss
    here, whole = (labels_at(labels, maps_BKhw.shape[-2:]) for labels in (batch.labels_BHW, batch.whole_BHW))
    return loss * share(here, whole, None).to(loss.dtype)
