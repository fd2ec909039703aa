"""Evaluation of a model on the frames of a split, single scale, at the configured size.

Shapes: B batch, C classes, H W image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from trainable.compute import Compute
from trainable.config import TrialConfig
from trainable.data.classes import class_names
from trainable.data.frames import Frames, Splits
from trainable.data.shapes import OBJECT_CLASSES
from trainable.diagnostics import diagnose
from trainable.metrics.calibration import Calibration
from trainable.metrics.confusion import class_ious, confusion_matrix, mean_iou, scores
from trainable.metrics.names import ALIGNED_OBJECT_MIOU, CONTEXT_GAP, ECE, SWAPPED_OBJECT_MIOU
from trainable.model.segmenter import Segmenter


def evaluation_batches(config: TrialConfig, images: int) -> list[Tensor]:
    """Image indices [B] of each batch, as many pixels in a batch as in a training batch, at least one image."""
    height, width = config.data.size
    crop_height, crop_width = config.data.augment.crop or config.data.size
    batch_size = max(1, config.train.batch_size * crop_height * crop_width // (height * width))
    return list(torch.split(torch.arange(images), batch_size))


@torch.inference_mode()
def split_confusion(
    model: Segmenter,
    compute: Compute,
    frames: Frames,
    batches: Sequence[Tensor],
    calibration: Calibration | None = None,
) -> Tensor:
    """Confusion matrix int64 [C,C], on the CPU, over the given batches of a split; ``calibration`` takes them too."""
    classes = model.classifier.out_channels
    matrix_CC = torch.zeros(classes, classes, dtype=torch.int64, device=compute.device)
    model.eval()
    for batch in frames.batches(batches):
        images_B3HW, labels_BHW = (frame.to(compute.device, non_blocking=True) for frame in batch)
        with compute.autocast():
            logits_BCHW = model(compute.network_input(images_B3HW))
        predicted_BHW = calibration.add(logits_BCHW, labels_BHW) if calibration else logits_BCHW.argmax(dim=1)
        matrix_CC += confusion_matrix(labels_BHW, predicted_BHW, classes)
    return matrix_CC.cpu()


def evaluate(
    config: TrialConfig, model: Segmenter, compute: Compute, splits: Splits, rare: Sequence[int]
) -> dict[str, float]:
    """Metrics of the evaluation split and of the model, and for shapes the context gap, by name."""
    batches, calibration = evaluation_batches(config, len(splits.val)), Calibration(compute.device)
    matrix_CC = split_confusion(model, compute, splits.val, batches, calibration)
    found = scores(matrix_CC, class_names(config.data), rare)
    if int(matrix_CC.sum()):
        found[ECE] = calibration.error()
    found |= diagnose(model, compute, splits.val, most_images=len(batches[0]))
    if splits.swapped is None:
        return found
    swapped_CC = split_confusion(model, compute, splits.swapped, evaluation_batches(config, len(splits.swapped)))
    return {**found, **context_scores(matrix_CC, swapped_CC)}


def context_scores(aligned_CC: Tensor, swapped_CC: Tensor) -> dict[str, float]:
    """Object mIoU in own and in swapped context, and their difference; without objects in a split, nothing."""
    aligned = mean_iou(class_ious(aligned_CC), OBJECT_CLASSES)
    swapped = mean_iou(class_ious(swapped_CC), OBJECT_CLASSES)
    found = {ALIGNED_OBJECT_MIOU: aligned, SWAPPED_OBJECT_MIOU: swapped, CONTEXT_GAP: aligned - swapped}
    return {name: value for name, value in found.items() if value == value}  # a NaN differs from itself
