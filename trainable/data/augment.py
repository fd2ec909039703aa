"""Random scale, crop, flip, photometric change and pasting in training batches, on the device of the trial.

Only the box that fills the crop is copied from the frames (a mapped file, say) and only it goes to the device; resizing
and everything after it happen there. Random numbers come from a CPU generator of the caller, so a run on a GPU sees the
same crops as one on a CPU.
Shapes: B batch, H W frames, h w crop.
"""

from collections.abc import Iterator, Sequence

import torch
import torchvision.transforms.v2.functional as F
from torch import Tensor

from trainable.data.classes import IGNORE_INDEX
from trainable.data.config import Augment, Size
from trainable.data.decode import PADDING_COLOUR
from trainable.data.frames import Batch, Frames, View

CROP_TRIES = 10
"""Draws of a crop under ``crop_max_share``; the last is taken as it is (mmsegmentation's ``cat_max_ratio``)."""
SHARE_STRIDE = 8
"""Every so many pixels along each axis are counted for ``crop_max_share``: counting all takes longer than copying."""
HUE_SHARE = 0.1
"""Largest turn of the hue, in turns of the colour circle, at photometric strength 1."""


def augmented_batches(
    frames: Frames, indices: Sequence[Tensor], augment: Augment, generator: torch.Generator, device: torch.device
) -> Iterator[Batch]:
    """Yield the augmented batch of each index tensor [B], on ``device``."""
    for chosen_B in indices:
        batch = augment_batch(frames.views(chosen_B), augment, generator, device)
        frames.release(chosen_B)
        yield batch


def augment_batch(
    views: Sequence[View], augment: Augment, generator: torch.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Augmented images uint8 [B,3,h,w] and labels uint8 [B,h,w]; h w are ``augment.crop`` or the frame's size.

    A frame is scaled and then cropped at a uniformly drawn place. Where the scaled frame is smaller than the crop it
    is padded, on a uniformly drawn side, with pixels that are ignored.
    """
    images, labels = zip(*(_scaled_crop(*view, augment, generator, device) for view in views), strict=True)
    images_B3hw, labels_Bhw = _to_device(torch.stack(images), device), _to_device(torch.stack(labels), device)
    if augment.flip:
        flip_B = (torch.rand(len(labels_Bhw), generator=generator) < 0.5).to(device, non_blocking=True)
        images_B3hw = torch.where(flip_B[:, None, None, None], images_B3hw.flip(-1), images_B3hw)
        labels_Bhw = torch.where(flip_B[:, None, None], labels_Bhw.flip(-1), labels_Bhw)
    if augment.photometric:
        images_B3hw = torch.stack([_recoloured(image, augment.photometric, generator) for image in images_B3hw])
    return images_B3hw, labels_Bhw


def paste_classes(
    batch: Batch, classes: Sequence[int], probability: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Images and labels with the pixels of some classes of another image of the batch pasted over some of them."""
    images_B3hw, labels_Bhw = batch
    images = len(labels_Bhw)
    if images == 1:
        return batch
    other_B = (torch.arange(images) + torch.randint(1, images, (images,), generator=generator)) % images
    chosen_B = torch.rand(images, generator=generator) < probability
    other_B, chosen_B = (drawn_B.to(labels_Bhw.device, non_blocking=True) for drawn_B in (other_B, chosen_B))
    others_Bhw = labels_Bhw[other_B]
    pasted_Bhw = torch.zeros_like(others_Bhw, dtype=torch.bool)
    for c in classes:
        pasted_Bhw |= others_Bhw == c
    pasted_Bhw &= chosen_B[:, None, None]
    images_B3hw = torch.where(pasted_Bhw[:, None], images_B3hw[other_B], images_B3hw)
    return images_B3hw, torch.where(pasted_Bhw, others_Bhw, labels_Bhw)


def _to_device(pixels: Tensor, device: torch.device) -> Tensor:
    """The pixels on ``device``; by way of pinned memory: a copy from elsewhere waits for all that the GPU has to do."""
    if pixels.device.type == device.type or device.type != "cuda":
        return pixels.to(device)
    pinned = torch.empty(pixels.shape, dtype=pixels.dtype, pin_memory=True)
    return pinned.copy_(pixels).to(device, non_blocking=True)


def _scaled_crop(
    image_3HW: Tensor, label_HW: Tensor, augment: Augment, generator: torch.Generator, device: torch.device
) -> View:
    """Cut the box that fills the crop once scaled, then resize it: the pixels outside the crop are never scaled.

    Without a scale a box stays a view, for its batch to be copied at once.
    """
    if augment.scale is None and augment.crop is None:
        return image_3HW, label_HW
    crop = augment.crop or (label_HW.shape[0], label_HW.shape[1])
    scale = _uniform(*augment.scale, generator) if augment.scale is not None else 1.0
    box = max(1, round(crop[0] / scale)), max(1, round(crop[1] / scale))
    top, left = _place(label_HW, box, augment.crop_max_share, generator)
    image_3hw = _cut(image_3HW, top, left, box, list(PADDING_COLOUR))
    label_1hw = _cut(label_HW[None], top, left, box, [IGNORE_INDEX])
    if augment.scale is None:
        return image_3hw, label_1hw[0]
    image_3hw, label_1hw = _to_device(image_3hw, device), _to_device(label_1hw, device)
    if box == crop:
        return image_3hw, label_1hw[0]
    image_3hw = F.resize(image_3hw, list(crop), interpolation=F.InterpolationMode.BILINEAR, antialias=True)
    label_1hw = F.resize(label_1hw, list(crop), interpolation=F.InterpolationMode.NEAREST)
    return image_3hw, label_1hw[0]


def _place(label_HW: Tensor, box: Size, max_share: float | None, generator: torch.Generator) -> tuple[int, int]:
    """Where the box begins, (top, left): drawn again while one class fills more than ``max_share`` of it."""
    height, width = label_HW.shape
    for _ in range(1 if max_share is None else CROP_TRIES):
        top, left = _offset(height - box[0], generator), _offset(width - box[1], generator)
        if max_share is None or _largest_share(label_HW, top, left, box) <= max_share:
            break
    return top, left


def _largest_share(label_HW: Tensor, top: int, left: int, box: Size) -> float:
    """Share of the commonest class among the labelled pixels of a box, by a sample; 1 where none is labelled."""
    rows = slice(max(0, top), top + box[0], SHARE_STRIDE)
    columns = slice(max(0, left), left + box[1], SHARE_STRIDE)
    counts = torch.bincount(label_HW[rows, columns].flatten(), minlength=256)[:IGNORE_INDEX]
    labelled = int(counts.sum())
    return int(counts.max()) / labelled if labelled else 1.0


def _recoloured(image_3hw: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Random brightness, contrast, saturation and hue of one image."""
    brightness, contrast, saturation = (_uniform(1 - strength, 1 + strength, generator) for _ in range(3))
    image_3hw = F.adjust_brightness(image_3hw, brightness)
    image_3hw = F.adjust_contrast(image_3hw, contrast)
    image_3hw = F.adjust_saturation(image_3hw, saturation)
    recoloured_3hw: Tensor = F.adjust_hue(image_3hw, HUE_SHARE * _uniform(-strength, strength, generator))
    return recoloured_3hw


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
