"""Random scale, crop and flip of a training batch, on whatever device the batch lies.

Random numbers come from a CPU generator of the caller, so a run on a GPU sees the same crops as one on a CPU.
Shapes: B batch, H W frames, h w crop.
"""

import torch
import torchvision.transforms.v2.functional as F
from torch import Tensor

from trainable.data.classes import IGNORE_INDEX
from trainable.data.config import Augment, Size

PADDING_COLOUR = (124, 116, 104)
"""ImageNet's mean colour, zero after normalisation: what a crop shows beyond the frame."""


def augment_batch(
    images_B3HW: Tensor, labels_BHW: Tensor, augment: Augment, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Augmented images uint8 [B,3,h,w] and labels uint8 [B,h,w]; h w are ``augment.crop`` or the frame's size.

    A frame is scaled and then cropped at a uniformly drawn place. Where the scaled frame is smaller than the crop it
    is padded, on a uniformly drawn side, with pixels that are ignored.
    """
    if augment.scale is not None or augment.crop is not None:
        crops = [_scaled_crop(*frame, augment, generator) for frame in zip(images_B3HW, labels_BHW, strict=True)]
        images_B3HW, labels_BHW = torch.stack([image for image, _ in crops]), torch.stack([label for _, label in crops])
    if augment.flip:
        flip_B = (torch.rand(len(labels_BHW), generator=generator) < 0.5).to(labels_BHW.device)
        images_B3HW = torch.where(flip_B[:, None, None, None], images_B3HW.flip(-1), images_B3HW)
        labels_BHW = torch.where(flip_B[:, None, None], labels_BHW.flip(-1), labels_BHW)
    return images_B3HW, labels_BHW


def _scaled_crop(
    image_3HW: Tensor, label_HW: Tensor, augment: Augment, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Cut the box that fills the crop once scaled, then resize it: the pixels outside the crop are never scaled."""
    height, width = label_HW.shape
    crop = augment.crop or (height, width)
    scale = _uniform(*augment.scale, generator) if augment.scale is not None else 1.0
    box = max(1, round(crop[0] / scale)), max(1, round(crop[1] / scale))
    top, left = (_offset(frame - cut, generator) for frame, cut in zip((height, width), box, strict=True))
    image_3hw = _cut(image_3HW, top, left, box, list(PADDING_COLOUR))
    label_1hw = _cut(label_HW[None], top, left, box, [IGNORE_INDEX])
    if box == crop:
        return image_3hw, label_1hw[0]
    image_3hw = F.resize(image_3hw, list(crop), interpolation=F.InterpolationMode.BILINEAR, antialias=True)
    label_1hw = F.resize(label_1hw, list(crop), interpolation=F.InterpolationMode.NEAREST)
    return image_3hw, label_1hw[0]


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()


def _offset(slack: int, generator: torch.Generator) -> int:
    """Where the box begins: in [0, slack], or in [slack, 0] when the box is larger than the frame (slack < 0)."""
    steps = int(torch.randint(abs(slack) + 1, (), generator=generator).item())
    return steps if slack >= 0 else -steps


def _cut(frame_cHW: Tensor, top: int, left: int, box: Size, fill: list[int]) -> Tensor:
    """Pixels [c,*box] from (top, left) on; filled where the box leaves the frame."""
    height, width = frame_cHW.shape[-2:]
    bottom, right = top + box[0], left + box[1]
    inside_chw = frame_cHW[:, max(0, top) : bottom, max(0, left) : right]
    padding = [max(0, -left), max(0, -top), max(0, right - width), max(0, bottom - height)]
    return F.pad(inside_chw, padding, fill=fill) if any(padding) else inside_chw
