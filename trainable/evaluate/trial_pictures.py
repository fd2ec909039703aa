"""What a trial's network makes of some fixed frames of the evaluation split, as a picture.

Nothing here draws random numbers or changes the model: metrics are the same with pictures and without.
Shapes: N frames of the split, C classes, B frames shown, H W their size.
"""

from collections.abc import Collection

import numpy as np
import torch

from trainable.config import TrialConfig
from trainable.data.classes import class_map
from trainable.data.frames import Frames
from trainable.data.mapped import Counts
from trainable.data.strip import draw_strip
from trainable.evaluate.predict import frame_logits
from trainable.model.segmenter import Segmenter
from trainable.train.compute import Compute

FRAMES = 4


def telling_frames(pixels_NC: Counts, count: int) -> list[int]:
    """Indices of ``count`` frames in which as many classes as possible are seen well, rare ones first.

    Greedy and deterministic, from the labels alone, so that all trials of a study show the same frames. A class is seen
    as well as its share of the pixels compares with the frame where that is largest; it counts by -log of its share of
    the whole split, so a rare class counts more than a common one.
    """
    seen_C = pixels_NC.sum(axis=0)
    present_C = seen_C > 0
    weight_C = np.zeros(len(seen_C))
    weight_C[present_C] = -np.log(seen_C[present_C] / (seen_C.sum() + 1))
    visible_NC = pixels_NC / np.maximum(1, pixels_NC.max(axis=0, initial=0))
    covered_C = np.zeros(len(seen_C))
    chosen: list[int] = []
    for _ in range(min(count, len(pixels_NC))):
        gain_N = (np.maximum(visible_NC - covered_C, 0) * weight_C).sum(axis=1)
        gain_N[chosen] = -1
        chosen.append(int(gain_N.argmax()))
        covered_C = np.maximum(covered_C, visible_NC[chosen[-1]])
    return sorted(chosen)


@torch.inference_mode()
def validation_strip(
    config: TrialConfig, model: Segmenter, compute: Compute, frames: Frames, rare: Collection[int]
) -> bytes:
    """PNG of a few frames: image, truth and what the model predicts.

    Raises:
        DataError: the classes of the data set can no longer be read.
    """
    model.eval()
    chosen = telling_frames(frames.class_pixels(model.classifier.out_channels), FRAMES)
    images, truths, predictions = [], [], []
    one_each = [torch.tensor([index]) for index in chosen]  # frames may be large
    for images_13HW, labels_1HW in frames.batches(one_each):
        with compute.autocast():
            network_input = compute.network_input(images_13HW.to(compute.device))
            logits_1CHW = frame_logits(model, network_input, config.evaluation)
        predictions.append(logits_1CHW.argmax(dim=1)[0].to("cpu", torch.uint8).numpy())
        images.append(images_13HW[0].numpy())
        truths.append(labels_1HW[0].numpy())
    return draw_strip(np.stack(images), np.stack(truths), np.stack(predictions), class_map(config.data), rare)
