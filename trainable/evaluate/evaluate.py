"""Evaluation of a model on the frames of a split at the configured size, as ``predict`` predicts.

On several ranks each predicts a part of the frames, and every count is summed over them, so that all ranks have the
metrics of the whole split.

Shapes: B batch, C classes, H W image.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from trainable.config import TrialConfig
from trainable.data.classes import class_names
from trainable.data.frames import Frames, Splits
from trainable.data.prefetch import ahead
from trainable.data.shapes import OBJECT_CLASSES
from trainable.data.statistics import ClassStatistics
from trainable.data.transfer import device_batches
from trainable.evaluate.config import Evaluation
from trainable.evaluate.diagnostics import Law, diagnose
from trainable.evaluate.metrics.confusion import class_ious, confusion_matrix, mean_iou, scores
from trainable.evaluate.metrics.names import (
    ALIGNED_OBJECT_MIOU,
    CONTEXT_GAP,
    MASKED_OBJECT_MIOU,
    MIOU,
    RARE_MIOU,
    SWAPPED_OBJECT_MIOU,
    TEST_MIOU,
    TEST_RARE_MIOU,
    UNIFORM_OBJECT_MIOU,
    iou_name,
    iou_on_test_name,
)
from trainable.evaluate.metrics.own_metrics import OwnScores
from trainable.evaluate.metrics.split_scores import SplitScores
from trainable.evaluate.predict import frame_logits
from trainable.model.segmenter import Segmenter
from trainable.parts.facts import ClassFacts
from trainable.ranks.group import own, summed, world
from trainable.train.compute import Compute


def evaluation_batch_size(config: TrialConfig) -> int:
    """Images of an evaluation batch: as many pixels as a training pass has at once, at least one image."""
    height, width = config.data.size
    crop_height, crop_width = config.data.augment.crop or config.data.size
    return max(1, config.train.micro_batch * crop_height * crop_width // (height * width))


def batch_size_on_rank(config: TrialConfig) -> int:
    """Images that a rank of the trial predicts at once."""
    return max(1, evaluation_batch_size(config) // world())


def evaluation_batches(config: TrialConfig, images: int) -> list[Tensor]:
    """Image indices [B] of each batch of this rank."""
    return batches_on_rank(torch.arange(images), batch_size_on_rank(config))


def batches_on_rank(chosen_N: Tensor, batch_size: int) -> list[Tensor]:
    """This rank's part of some images, [B] each; no batch where it has none."""
    return [batch_B for batch_B in torch.split(chosen_N[own(len(chosen_N))], batch_size) if len(batch_B)]


@torch.inference_mode()
def split_confusion(
    model: Segmenter,
    compute: Compute,
    frames: Frames,
    batches: Sequence[Tensor],
    evaluation: Evaluation,
    collected: SplitScores | None = None,
) -> Tensor:
    """Confusion matrix int64 [C,C], on the CPU, over the given batches of a split; ``collected`` takes them too.

    On several ranks it is summed over them; ``collected`` holds what is of this rank.
    """
    classes = model.classifier.out_channels
    matrix_CC = torch.zeros(classes, classes, dtype=torch.int64, device=compute.device)
    model.eval()
    with ahead(device_batches(frames, batches, compute.device), compute.device) as seen:
        for images_B3HW, labels_BHW in seen:
            with compute.autocast():
                logits_BCHW = frame_logits(model, compute.network_input(images_B3HW), evaluation)
            if collected is None:
                matrix_CC += confusion_matrix(labels_BHW, logits_BCHW.argmax(dim=1), classes)
            else:
                matrix_CC += collected.add(logits_BCHW, labels_BHW)
    return summed(matrix_CC).cpu()


def evaluate(
    config: TrialConfig, model: Segmenter, compute: Compute, splits: Splits, rare: Sequence[int]
) -> tuple[dict[str, float], Tensor, Tensor]:
    """Metrics by name, of the evaluation split, the model and for shapes the other contexts.

    Returns:
        The metrics; the split's confusion matrix [C,C]; its bins of confidence [M,3] (``Calibration.bins``).
    """
    own_scores = _own_scores(config, splits, compute, rare)
    collected = SplitScores(model.classifier.out_channels, compute.device, own_scores)
    val_CC, *contexts_CC = (
        split_confusion(
            model,
            compute,
            frames,
            evaluation_batches(config, len(frames)),
            config.evaluation,
            collected if frames is splits.val else None,
        )
        for frames in splits.evaluated()
    )
    collected.gather(len(splits.val))
    metrics = scores(val_CC, class_names(config.data), rare) | collected.metrics(rare)
    law: Law = "normal" if config.model.init == "small" else "uniform"
    metrics |= diagnose(model, compute, splits.val, evaluation_batch_size(config), law, rare, config.suppression)
    metrics |= context_scores(val_CC, *contexts_CC) if contexts_CC else {}
    return metrics, val_CC, collected.calibration.bins()


def _own_scores(config: TrialConfig, splits: Splits, compute: Compute, rare: Sequence[int]) -> list[OwnScores]:
    """The metrics of one's own that the trial names."""
    if not config.evaluation.metrics:
        return []
    names = class_names(config.data)
    facts = ClassFacts(names, ClassStatistics.of(splits.train.class_pixels(len(names))), tuple(rare))
    return [OwnScores.of(metric, facts, compute.device) for metric in config.evaluation.metrics]


def evaluate_test(
    config: TrialConfig, model: Segmenter, compute: Compute, test: Frames, rare: Sequence[int]
) -> dict[str, float]:
    """Metrics of the test split by name."""
    names = class_names(config.data)
    batches = evaluation_batches(config, len(test))
    metrics = scores(split_confusion(model, compute, test, batches, config.evaluation), names, rare)
    reported = {MIOU: TEST_MIOU, RARE_MIOU: TEST_RARE_MIOU}
    reported |= {iou_name(name): iou_on_test_name(name) for name in names}
    return {reported[name]: value for name, value in metrics.items() if name in reported}


def context_scores(*matrices_CC: Tensor) -> dict[str, float]:
    """Object mIoU in aligned, uniform, swapped and masked context, and the gap; undefined ones are left out."""
    kinds = (ALIGNED_OBJECT_MIOU, UNIFORM_OBJECT_MIOU, SWAPPED_OBJECT_MIOU, MASKED_OBJECT_MIOU)
    ious = [mean_iou(class_ious(matrix_CC), OBJECT_CLASSES) for matrix_CC in matrices_CC]
    metrics = dict(zip(kinds, ious, strict=True))
    metrics[CONTEXT_GAP] = metrics[ALIGNED_OBJECT_MIOU] - metrics[SWAPPED_OBJECT_MIOU]
    return {name: value for name, value in metrics.items() if not math.isnan(value)}
