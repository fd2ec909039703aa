"""What an epoch measures on changed frames of the evaluation split: with a class erased, and corrupted.

Nothing here draws from the trial's random streams or changes the model: training is the same with it and without.
Shapes: B batch, C classes, H W frame.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainable.config import TrialConfig
from trainable.data.classes import class_names
from trainable.data.frames import Frames
from trainable.evaluate.context import Predict, context_reliance
from trainable.evaluate.corruptions import corrupted_scores
from trainable.evaluate.evaluate import batch_size_on_rank
from trainable.evaluate.metrics.names import CONTEXT_SECONDS, CORRUPTIONS_SECONDS
from trainable.evaluate.metrics.reliance import reliance_scores
from trainable.evaluate.predict import frame_logits
from trainable.model.segmenter import Segmenter
from trainable.train.compute import Compute


@dataclass(frozen=True)
class Changed:
    """What was measured; nothing in an epoch that is not due."""

    metrics: dict[str, float] = field(default_factory=dict)
    """By name."""
    reliance: Tensor | None = None
    """IoU that class c loses where class z is erased, float64 [C,C], NaN where they never meet."""


@torch.inference_mode()
def evaluate_changed(
    config: TrialConfig, model: Segmenter, compute: Compute, frames: Frames, rare: Sequence[int], epoch: int
) -> Changed:
    """Measure what the ``evaluation`` section asks for after an epoch; frames are predicted as it says."""
    evaluation, epochs = config.evaluation, config.train.epochs
    predict, batch_size = _predict(config, model, compute), batch_size_on_rank(config)
    metrics: dict[str, float] = {}
    reliance_CC: Tensor | None = None
    if evaluation.context and evaluation.context.due(epoch, epochs):
        begun, names = time.perf_counter(), class_names(config.data)
        reliance_CC = context_reliance(predict, compute, frames, names, evaluation.context, batch_size)
        metrics |= reliance_scores(reliance_CC, names, rare)
        metrics[CONTEXT_SECONDS] = time.perf_counter() - begun
    if evaluation.corruptions and evaluation.corruptions.due(epoch, epochs):
        begun, classes = time.perf_counter(), model.classifier.out_channels
        metrics |= corrupted_scores(predict, compute, frames, classes, evaluation.corruptions, batch_size)
        metrics[CORRUPTIONS_SECONDS] = time.perf_counter() - begun
    return Changed(metrics, reliance_CC)


def _predict(config: TrialConfig, model: Segmenter, compute: Compute) -> Predict:
    model.eval()

    def predict(input_B3HW: Tensor) -> Tensor:
        with compute.autocast():
            logits_BCHW = frame_logits(model, input_B3HW, config.evaluation)
        return logits_BCHW.argmax(dim=1)

    return predict
