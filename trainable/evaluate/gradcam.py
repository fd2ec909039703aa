"""Where in a frame the logits of a class come from: Grad-CAM of a segmentation network.

Source: Selvaraju et al., Grad-CAM, arXiv 1610.02391; for segmentation Vinogradova et al., arXiv 2002.11434, eq. 1.
Shapes: C classes, Z of them asked for, K channels of a map, h w a map, H W the frame.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from trainable.model.segmenter import Segmenter
from trainable.train.compute import Compute, full_precision

Place = Literal["decoder", "encoder"]
"""Whose map is looked at: the decoder's last, or the encoder's deepest, which has seen most of the frame."""


@torch.enable_grad()
def gradcam(
    model: Segmenter, compute: Compute, image_3HW: Tensor, label_HW: Tensor, classes: Sequence[int]
) -> Mapping[Place, Tensor]:
    """Maps [Z,H,W] at least 0, float32 on the CPU: sum_k a_k A_k without its negative part, a_k the mean gradient.

    The gradient is that of the sum of the class's logits over its labelled pixels, in a prediction: every class is
    kept, running statistics are used and stay as they are. With a 1x1 classifier and no block the decoder's map is the
    logit without its bias.
    """
    model.eval()
    image_13HW = image_3HW[None].to(compute.device)
    with torch.compiler.set_stance("force_eager"), compute.autocast():  # not worth a graph with gradients
        deepest_1Khw, decoded_1Khw, logits_1Chw = model.prediction_from_maps(compute.network_input(image_13HW))
    size = (logits_1Chw.shape[-2], logits_1Chw.shape[-1])
    rows: dict[Place, list[Tensor]] = {"decoder": [], "encoder": []}
    for z in classes:
        share_hw = F.adaptive_avg_pool2d((label_HW == z).float()[None], size)[0].to(compute.device)
        score = (logits_1Chw[0, z] * share_hw).sum()
        gradients = torch.autograd.grad(score, [decoded_1Khw, deepest_1Khw], retain_graph=True)
        for place, maps_1Khw, gradient_1Khw in zip(rows, (decoded_1Khw, deepest_1Khw), gradients, strict=True):
            rows[place].append(_weighted(maps_1Khw, gradient_1Khw, (label_HW.shape[0], label_HW.shape[1])))
    return {place: torch.stack(maps) for place, maps in rows.items()}


def _weighted(maps_1Khw: Tensor, gradient_1Khw: Tensor, size: tuple[int, int]) -> Tensor:
    """The map [H,W] of a class."""
    weight_K = full_precision(gradient_1Khw).mean(dim=(0, 2, 3))
    map_hw = torch.einsum("k,khw->hw", weight_K, full_precision(maps_1Khw.detach()[0])).relu()
    return F.interpolate(map_hw[None, None], size, mode="bilinear", align_corners=False)[0, 0].cpu()


def share_inside(map_HW: Tensor, inside_HW: Tensor) -> float | None:
    """Share of a map's sum that lies on some pixels; None where the map is zero everywhere.

    Source: Wang et al., Score-CAM, arXiv 1910.01279, the energy-based pointing game.
    """
    total = float(map_HW.sum())
    return float(map_HW[inside_HW].sum()) / total if total > 0 else None
