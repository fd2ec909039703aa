"""What suppression does to the network: measured on some images of the evaluation split, and on its weights.

Shapes: B batch, C classes, K channels, h w the logits' stride.
"""

import math
from collections.abc import Mapping

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
    WEIGHT_COSINE,
)
from trainable.model.segmenter import Segmenter, weight_cosine
from trainable.suppression.drop import Drop
from trainable.suppression.sampling import labels_at
from trainable.train.compute import Compute

IMAGES = 8
"""Images, evenly spread over the split, on which each of their classes is suppressed once per epoch."""


@torch.inference_mode()
def diagnose(model: Segmenter, compute: Compute, frames: Frames, most_images: int) -> dict[str, float]:
    """Metrics by name; undefined ones are left out. On at most ``most_images`` images, which are one batch."""
    metrics = {WEIGHT_COSINE: weight_cosine(model.classifier)}
    if model.layers:
        importances = model.importance().values()
        metrics[CHANNEL_PURITY] = sum(map(channel_purity, importances)) / len(importances)
        count = min(IMAGES, most_images, len(frames))
        images_B3HW, labels_BHW = next(iter(frames.batches([torch.linspace(0, len(frames) - 1, count).long()])))
        metrics |= effects(model, compute, images_B3HW.to(compute.device), labels_BHW.to(compute.device))
    return {name: value for name, value in metrics.items() if not math.isnan(value)}


def channel_purity(importance_CK: Tensor) -> float:
    """Mean over channels of max_z r_zk, r_zk = ReLU(S_zk) / sum_c ReLU(S_ck); channels of no class are left out.

    1/C where channels serve all classes alike, 1 where each serves one. NaN without any channel.
    """
    positive_CK = importance_CK.clamp_min(0).double()
    total_K = positive_CK.sum(dim=0)
    return float((positive_CK.amax(dim=0) / total_K)[total_K > 0].mean())


@torch.inference_mode()
def effects(model: Segmenter, compute: Compute, images_B3HW: Tensor, labels_BHW: Tensor) -> dict[str, float]:
    """Suppress each class of the batch in turn: p(z) on its pixels before and after, and mIoU lost by the others."""
    model.eval()
    with compute.autocast():
        plain = model.plain(compute.network_input(images_B3HW))
        importance = model.importance()
        kept_BChw = model.suppressed(plain, None, importance)
    labels_Bhw = labels_at(labels_BHW, kept_BChw.shape[-2:])
    classes = kept_BChw.shape[1]
    present = [z for z in range(classes) if bool((labels_Bhw == z).any())]
    before, after, lost = [], [], []
    for z in present:
        with compute.autocast():
            dropped_BChw = model.suppressed(plain, Drop.of(z, classes, compute.device), importance)
        of_z_Bhw = labels_Bhw == z
        before.append(_probability(kept_BChw, z, of_z_Bhw))
        after.append(_probability(dropped_BChw, z, of_z_Bhw))
        others_Bhw = labels_Bhw.masked_fill(of_z_Bhw, IGNORE_INDEX)
        lost.append(_mean_iou(kept_BChw, others_Bhw) - _mean_iou(dropped_BChw, others_Bhw))
    by_class: Mapping[str, list[float]] = {KEPT_PROBABILITY: before, DROPPED_PROBABILITY: after, COLLATERAL: lost}
    return {name: _mean([value for value in values if not math.isnan(value)]) for name, values in by_class.items()}


def _probability(logits_BChw: Tensor, z: int, where_Bhw: Tensor) -> float:
    return float(logits_BChw.softmax(dim=1)[:, z][where_Bhw].mean())


def _mean_iou(logits_BChw: Tensor, labels_Bhw: Tensor) -> float:
    """Mean over the classes that are labelled; NaN without labels."""
    matrix_CC = confusion_matrix(labels_Bhw, logits_BChw.argmax(dim=1), logits_BChw.shape[1])
    labelled_C = matrix_CC.sum(dim=1) > 0
    return float(class_ious(matrix_CC)[labelled_C].mean())


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan
