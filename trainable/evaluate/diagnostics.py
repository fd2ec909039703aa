"""What suppression does to the network: measured on some images of the evaluation split, and on its weights.

Shapes: B batch, C classes, Z of them in the batch, K channels, h w the logits' stride.
"""

import math
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from trainable.data.classes import IGNORE_INDEX
from trainable.data.frames import Frames
from trainable.evaluate.metrics.confusion import class_ious, confusion_matrix
from trainable.evaluate.metrics.names import (
    CHANNEL_PURITY,
    COLLATERAL,
    DROPPED_PROBABILITY,
    KEPT_PROBABILITY,
    PURITY_ABOVE_CHANCE,
)
from trainable.evaluate.metrics.weight_cosine import cosine_scores, weight_cosines
from trainable.model.segmenter import Segmenter
from trainable.ranks.group import own, placed
from trainable.suppression.config import Layer, SuppressionConfig
from trainable.suppression.drop import Drop
from trainable.suppression.sampling import labels_at
from trainable.train.compute import Compute
from trainable.train.step import Batch, erased

IMAGES = 8
"""Images, evenly spread over the split, on which each of their classes is suppressed once per epoch."""
CHANCE_CHANNELS = 2**14
"""Channels of the random weights: chance is known to 0.002 then, and is that of any number of channels."""
Law = Literal["uniform", "normal"]
"""Of initial weights; purity does not depend on their scale."""


@torch.inference_mode()
def diagnose(
    model: Segmenter,
    compute: Compute,
    frames: Frames,
    most_images: int,
    law: Law = "uniform",
    rare: Collection[int] = (),
    suppression: SuppressionConfig | None = None,
) -> dict[str, float]:
    """Metrics by name; undefined ones are left out. On at most ``most_images`` images, which are one batch.

    ``law`` is that of the initial weights of the classifiers. Where pixels are erased ``suppression`` says how; purity
    is that of blocks, which erasing has none of.
    """
    metrics = cosine_scores(weight_cosines(model.classifier), rare)
    if model.layers:
        purities = {layer: channel_purity(importance_CK) for layer, importance_CK in model.importance().items()}
        metrics[CHANNEL_PURITY] = _mean(list(purities.values()))
        metrics[PURITY_ABOVE_CHANCE] = _mean([purity - _chance(model, at, law) for at, purity in purities.items()])
    if model.layers or (suppression and suppression.erased):
        count = min(IMAGES, most_images, len(frames))
        images_B3HW, labels_BHW = next(iter(frames.batches([torch.linspace(0, len(frames) - 1, count).long()])))
        metrics |= effects(model, compute, images_B3HW.to(compute.device), labels_BHW.to(compute.device), suppression)
    return {name: value for name, value in metrics.items() if not math.isnan(value)}


def channel_purity(importance_CK: Tensor) -> float:
    """Mean over channels of max_z r_zk, r_zk = ReLU(S_zk) / sum_c ReLU(S_ck); channels of no class are left out.

    1/C where channels serve all classes alike, 1 where each serves one. NaN without any channel.
    """
    positive_CK = importance_CK.clamp_min(0).double()
    total_K = positive_CK.sum(dim=0)
    return float((positive_CK.amax(dim=0) / total_K)[total_K > 0].mean())


def _chance(model: Segmenter, layer: Layer, law: Law) -> float:
    """Channel purity to expect at a layer before training."""
    classes, _, *kernel = model.classifier.weight.shape
    if model.block(layer).source == "auxiliary":
        return chance_purity(classes, 1, law)
    if layer == "decoder":  # gradients there are the classifier's weights
        return chance_purity(classes, math.prod(kernel), law)
    return chance_purity(classes, 1, "normal")  # gradients: sums over many weights of a class


@lru_cache
def chance_purity(classes: int, kernel: int, law: Law) -> float:
    """Channel purity of random weights [C,K] that are means over ``kernel`` draws; always the same."""
    generator = torch.Generator().manual_seed(0)
    draw = torch.rand if law == "uniform" else torch.randn
    weight_CK = torch.zeros(classes, CHANCE_CHANNELS)
    for _ in range(kernel):
        weight_CK += draw(classes, CHANCE_CHANNELS, generator=generator) - (0.5 if law == "uniform" else 0.0)
    return channel_purity(weight_CK)


@torch.inference_mode()
def effects(
    model: Segmenter,
    compute: Compute,
    images_B3HW: Tensor,
    labels_BHW: Tensor,
    suppression: SuppressionConfig | None = None,
) -> dict[str, float]:
    """Suppress each class of the batch in turn: p(z) on its pixels before and after, and mIoU lost by the others.

    On several ranks all have the same batch, and each suppresses a part of its classes.
    """
    model.eval()
    batch = Batch(compute.network_input(images_B3HW), labels_BHW.long())
    suppress = _suppressor(model, compute, batch, suppression)
    kept_BChw = suppress(None)
    labels_Bhw = labels_at(labels_BHW, kept_BChw.shape[-2:])
    classes = kept_BChw.shape[1]
    present = [z for z in range(classes) if bool((labels_Bhw == z).any())]
    rows = []
    for z in present[own(len(present))]:
        dropped_BChw = suppress(Drop.of(z, classes, compute.device))
        of_z_Bhw = labels_Bhw == z
        others_Bhw = labels_Bhw.masked_fill(of_z_Bhw, IGNORE_INDEX)
        lost = _mean_iou(kept_BChw, others_Bhw) - _mean_iou(dropped_BChw, others_Bhw)
        rows.append((_probability(kept_BChw, z, of_z_Bhw), _probability(dropped_BChw, z, of_z_Bhw), lost))
    rows_Z3 = torch.tensor(rows, dtype=torch.float64, device=compute.device).view(-1, 3)
    by_effect = placed(rows_Z3, len(present)).mT.tolist()
    names = (KEPT_PROBABILITY, DROPPED_PROBABILITY, COLLATERAL)
    return {
        name: _mean([v for v in values if not math.isnan(v)]) for name, values in zip(names, by_effect, strict=True)
    }


def _suppressor(
    model: Segmenter, compute: Compute, batch: Batch, suppression: SuppressionConfig | None
) -> Callable[[Drop | None], Tensor]:
    """Logits [B,C,h,w] of the path that predicts, under a drop."""
    importance = model.importance()
    with compute.autocast():
        plain = model.plain(batch.images_B3HW)

    def suppress(drop: Drop | None) -> Tensor:
        seen, edits = erased(batch, drop, suppression, compute) if suppression else (batch, {})
        with compute.autocast():
            if not model.layers:
                return model.edited(seen.images_B3HW, edits)
            return model.suppressed(plain if seen is batch else model.plain(seen.images_B3HW), drop, importance)

    return suppress


def _probability(logits_BChw: Tensor, z: int, where_Bhw: Tensor) -> float:
    return float(logits_BChw.softmax(dim=1)[:, z][where_Bhw].mean())


def _mean_iou(logits_BChw: Tensor, labels_Bhw: Tensor) -> float:
    """Mean over the classes that are labelled; NaN without labels."""
    matrix_CC = confusion_matrix(labels_Bhw, logits_BChw.argmax(dim=1), logits_BChw.shape[1])
    labelled_C = matrix_CC.sum(dim=1) > 0
    return float(class_ious(matrix_CC)[labelled_C].mean())


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan
