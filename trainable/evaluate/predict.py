"""Logits of whole frames: in one piece or by a sliding window, of one scale or several, mirrored too where asked.

As in mmsegmentation: logits are averaged where windows overlap, probabilities over scales and mirroring.
Shapes: B batch, C classes, H W frame, h w window.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from trainable.data.config import Size, scaled_size
from trainable.evaluate.config import Evaluation

Network = Callable[[Tensor], Tensor]
"""Logits [B,C,H,W] of images [B,3,H,W]."""


def frame_logits(network: Network, images_B3HW: Tensor, evaluation: Evaluation) -> Tensor:
    """Logits [B,C,H,W], up to a constant per pixel; of averaged predictions the log of the mean probabilities."""
    if not evaluation.averages:
        return _logits(network, images_B3HW, evaluation)
    height, width = images_B3HW.shape[-2:]
    total_BCHW: Tensor | None = None
    for scale in evaluation.scales:
        scaled_B3hw = _scaled(images_B3HW, scale)
        for mirrored in (False, True) if evaluation.flip else (False,):
            logits_BChw = _logits(network, scaled_B3hw.flip(-1) if mirrored else scaled_B3hw, evaluation)
            logits_BChw = logits_BChw.flip(-1) if mirrored else logits_BChw
            logits_BCHW = F.interpolate(logits_BChw.float(), (height, width), mode="bilinear", align_corners=False)
            probabilities_BCHW = logits_BCHW.softmax(dim=1)
            total_BCHW = probabilities_BCHW if total_BCHW is None else total_BCHW.add_(probabilities_BCHW)
    assert total_BCHW is not None
    tiny = torch.finfo(total_BCHW.dtype).tiny  # a probability that underflowed is small, not impossible
    return total_BCHW.div_(len(evaluation.scales) * (1 + evaluation.flip)).clamp_(min=tiny).log_()


def _scaled(images_B3HW: Tensor, scale: float) -> Tensor:
    """Images at a scale, their sides rounded to what every architecture accepts."""
    if scale == 1:
        return images_B3HW
    height, width = images_B3HW.shape[-2:]
    return F.interpolate(
        images_B3HW, scaled_size((height, width), scale), mode="bilinear", align_corners=False, antialias=True
    )


def _logits(network: Network, images_B3HW: Tensor, evaluation: Evaluation) -> Tensor:
    height, width = images_B3HW.shape[-2:]
    if evaluation.window is None:
        return network(images_B3HW)
    window: Size = min(evaluation.window[0], height), min(evaluation.window[1], width)
    total_BCHW: Tensor | None = None
    seen_HW = torch.zeros(height, width, device=images_B3HW.device)
    for top in _starts(height, window[0], evaluation.overlap):
        for left in _starts(width, window[1], evaluation.overlap):
            rows, columns = slice(top, top + window[0]), slice(left, left + window[1])
            logits_BChw = network(images_B3HW[..., rows, columns]).float()
            if total_BCHW is None:
                total_BCHW = logits_BChw.new_zeros((*logits_BChw.shape[:2], height, width))
            total_BCHW[..., rows, columns] += logits_BChw
            seen_HW[rows, columns] += 1
    assert total_BCHW is not None
    return total_BCHW / seen_HW


def _starts(side: int, window: int, overlap: float) -> list[int]:
    """Where the windows begin: evenly spread from edge to edge, as few as overlap enough."""
    if window >= side:
        return [0]
    steps = math.ceil((side - window) / max(1.0, window * (1 - overlap)))
    return [round(step * (side - window) / steps) for step in range(steps + 1)]
