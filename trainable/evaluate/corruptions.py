"""Frames corrupted by noise, blur, fog and brightness, and the scores on them.

Source: Hendrycks, Dietterich, ICLR 2019, arXiv 1903.12261: ``gaussian_noise``, ``gaussian_blur``, ``fog`` and
``brightness`` with the constants of its published code (``make_imagenet_c.py``), made anew in torch. Two things differ:
its images have 224 pixels a side, so the blur is a share of a frame's shorter side; and the fog is a sum of octaves of
smoothed noise, each weaker by the published decay, in place of the diamond-square algorithm.
A frame is corrupted alike in every trial, on every device up to rounding: what is drawn depends on its number and the
kind.
Shapes: B batch, C classes, H W frame, T taps of the blur.
"""

import math
from collections.abc import Sequence
from typing import Literal, assert_never, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from trainable.data.frames import Frames
from trainable.evaluate.config import Corruptions
from trainable.evaluate.context import Predict, sampled_frames
from trainable.evaluate.evaluate import batches_on_rank
from trainable.evaluate.metrics.confusion import class_ious, confusion_matrix, mean_iou
from trainable.evaluate.metrics.names import CORRUPTED_MIOU, corrupted_name
from trainable.ranks.group import summed
from trainable.train.compute import Compute

Kind = Literal["noise", "blur", "fog", "brightness"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NOISE = (0.08, 0.12, 0.18, 0.26, 0.38)
"""Standard deviation by severity, of brightness in [0, 1]."""
BLUR = (1.0, 2.0, 3.0, 4.0, 6.0)
"""Standard deviation in pixels of an image of ``SIDE``."""
SIDE = 224
FOG = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))
"""Thickness, and by what each octave of the fog is weaker than the one before."""
BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Added to the value of hue, saturation and value."""


def corrupted_scores(
    predict: Predict, compute: Compute, frames: Frames, classes: int, corruptions: Corruptions, batch_size: int
) -> dict[str, float]:
    """Mean IoU of each kind and their mean, by name; undefined ones are left out."""
    matrices = {k: torch.zeros(classes, classes, dtype=torch.int64, device=compute.device) for k in KINDS}
    batches = batches_on_rank(sampled_frames(len(frames), corruptions), batch_size)
    for chosen_B, batch in zip(batches, frames.batches(batches), strict=True):
        images_B3HW, labels_BHW = (pixels.to(compute.device) for pixels in batch)
        for kind, matrix_CC in matrices.items():
            changed_B3HW = corrupted(images_B3HW, kind, corruptions.severity, chosen_B.tolist())
            matrix_CC += confusion_matrix(labels_BHW, predict(compute.network_input(changed_B3HW)), classes)
    scores = {
        corrupted_name(k): mean_iou(class_ious(summed(m_CC).cpu()), range(classes)) for k, m_CC in matrices.items()
    }
    scores[CORRUPTED_MIOU] = sum(scores.values()) / len(scores)
    return {name: score for name, score in scores.items() if not math.isnan(score)}


def corrupted(images_B3HW: Tensor, kind: Kind, severity: int, numbers: Sequence[int]) -> Tensor:
    """Images uint8 [B,3,H,W] corrupted; ``numbers`` say which frames they are, ``severity`` runs from 1 to 5."""
    values_B3HW = images_B3HW.float() / 255
    generators = [torch.Generator().manual_seed(len(KINDS) * number + KINDS.index(kind)) for number in numbers]
    match kind:
        case "noise":
            drawn_B3HW = torch.stack([torch.randn(values_B3HW.shape[1:], generator=one) for one in generators])
            values_B3HW = values_B3HW + NOISE[severity - 1] * drawn_B3HW.to(values_B3HW.device)
        case "blur":
            values_B3HW = _blurred(values_B3HW, BLUR[severity - 1])
        case "fog":
            thickness, decay = FOG[severity - 1]
            size = (values_B3HW.shape[-2], values_B3HW.shape[-1])
            fog_B1HW = torch.cat([fog(size, decay, one) for one in generators]).to(values_B3HW.device)
            brightest_B111 = values_B3HW.amax(dim=(1, 2, 3), keepdim=True)
            values_B3HW = (values_B3HW + thickness * fog_B1HW) * brightest_B111 / (brightest_B111 + thickness)
        case "brightness":
            values_B3HW = _brightened(values_B3HW, BRIGHTNESS[severity - 1])
        case _:
            assert_never(kind)
    return (values_B3HW.clamp(0, 1) * 255).round().to(torch.uint8)


def _blurred(values_B3HW: Tensor, deviation: float) -> Tensor:
    """A Gaussian of three deviations to each side, along rows and then along columns; edges are mirrored."""
    deviation *= min(values_B3HW.shape[-2:]) / SIDE
    reach = math.ceil(3 * deviation)
    offsets_T = torch.arange(-reach, reach + 1, device=values_B3HW.device)
    weights_T = torch.exp(-(offsets_T**2) / (2 * deviation**2))
    row_311T = (weights_T / weights_T.sum()).expand(3, 1, 1, -1)
    padded_B3HW = F.pad(values_B3HW, (reach, reach, reach, reach), mode="reflect")
    return F.conv2d(F.conv2d(padded_B3HW, row_311T, groups=3), row_311T.transpose(2, 3), groups=3)


def fog(size: tuple[int, int], decay: float, generator: torch.Generator) -> Tensor:
    """Density in [0, 1], [1,1,H,W]: octaves of noise from two cells a side to the shorter side of the frame."""
    density_11HW = torch.zeros(1, 1, *size)
    for octave in range(1, int(math.log2(min(size))) + 1):
        cells = torch.rand(1, 1, 2**octave + 1, 2**octave + 1, generator=generator)
        density_11HW += F.interpolate(cells, size, mode="bilinear", align_corners=True) / decay**octave
    density_11HW -= density_11HW.min()
    return density_11HW / density_11HW.max()


def _brightened(values_B3HW: Tensor, more: float) -> Tensor:
    """More value, the same hue and saturation; black becomes grey."""
    value_B1HW = values_B3HW.amax(dim=1, keepdim=True)
    raised_B1HW = (value_B1HW + more).clamp(max=1)
    return torch.where(value_B1HW > 0, values_B3HW / value_B1HW.clamp(min=1e-6) * raised_B1HW, raised_B1HW)
