"""Random scale, crop, flip, photometric change and pasting in training batches, on the device of the trial.

Only the box that fills the crop is copied from the frames (a mapped file, say) and only it goes to the device, the
boxes of a batch at once; resizing and everything after it happen there. Random numbers come from a CPU generator of
the caller, so a run on a GPU sees the same crops as one on a CPU.
Shapes: B batch, H W frames, h w crop.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torchvision.transforms.v2.functional as F
from torch import Tensor

from trainable.data.classes import IGNORE_INDEX
from trainable.data.config import Augment, Size
from trainable.data.decode import PADDING_COLOUR
from trainable.data.draws import Box, Draws, Pasting, Recolouring
from trainable.data.frames import Batch, Frames, View
from trainable.data.transfer import to_device
from trainable.ranks.group import own


@dataclass(frozen=True)
class Paste:
    """Pixels of some classes of another image of the batch are pasted over an image, with some probability."""

    classes: Sequence[int]
    probability: float


def augmented_batches(
    frames: Frames,
    indices: Sequence[Tensor],
    augment: Augment,
    generator: torch.Generator,
    device: torch.device,
    paste: Paste | None = None,
) -> Iterator[Batch]:
    """Yield the augmented batch of each index tensor [B], on ``device``; on several ranks this rank's images of it."""
    for chosen_B in indices:
        views = frames.views(chosen_B)
        draws, needed = Draws.of(views, augment, generator), list(range(len(views)))[own(len(views))]
        pasting = Pasting.of(len(views), paste.probability, generator) if paste else None
        if pasting:
            needed, pasting = pasting.on(own(len(views)))
        batch = _augmented([views[image] for image in needed], draws.only(needed), augment, device)
        frames.release(chosen_B)
        yield _pasted(batch, paste.classes, pasting) if paste and pasting else batch


def augment_batch(
    views: Sequence[View], augment: Augment, generator: torch.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Augmented images uint8 [B,3,h,w] and labels uint8 [B,h,w]; h w are ``augment.crop`` or the frame's size.

    A frame is scaled and then cropped at a uniformly drawn place. Where the scaled frame is smaller than the crop it
    is padded, on a uniformly drawn side, with pixels that are ignored.
    """
    return _augmented(views, Draws.of(views, augment, generator), augment, device)


def _augmented(views: Sequence[View], draws: Draws, augment: Augment, device: torch.device) -> tuple[Tensor, Tensor]:
    cut = [_cut_box(*view, box) for view, box in zip(views, draws.boxes, strict=True)]
    on_device = to_device([pixels for pair in cut for pixels in pair], device)
    size = augment.crop or (views[0][1].shape[0], views[0][1].shape[1])
    crops = [_resized(*pair, size) for pair in zip(on_device[::2], on_device[1::2], strict=True)]
    images_B3hw, labels_Bhw = (torch.stack(pixels) for pixels in zip(*crops, strict=True))
    if draws.flip_B is not None:
        flip_B = draws.flip_B.to(device, non_blocking=True)
        images_B3hw = torch.where(flip_B[:, None, None, None], images_B3hw.flip(-1), images_B3hw)
        labels_Bhw = torch.where(flip_B[:, None, None], labels_Bhw.flip(-1), labels_Bhw)
    if draws.colours is not None:
        images_B3hw = torch.stack([_recoloured(*one) for one in zip(images_B3hw, draws.colours, strict=True)])
    return images_B3hw, labels_Bhw


def paste_classes(
    batch: Batch, classes: Sequence[int], probability: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Images and labels with the pixels of some classes of another image of the batch pasted over some of them."""
    pasting = Pasting.of(len(batch[1]), probability, generator)
    return batch if pasting is None else _pasted(batch, classes, pasting)


def _pasted(batch: Batch, classes: Sequence[int], pasting: Pasting) -> tuple[Tensor, Tensor]:
    """The images that are pasted into, which come first; others may follow, to be pasted from."""
    images_N3hw, labels_Nhw = batch
    other_B, chosen_B = (
        drawn_B.to(labels_Nhw.device, non_blocking=True) for drawn_B in (pasting.other_B, pasting.chosen_B)
    )
    images_B3hw, labels_Bhw, others_Bhw = images_N3hw[: len(other_B)], labels_Nhw[: len(other_B)], labels_Nhw[other_B]
    pasted_Bhw = torch.zeros_like(others_Bhw, dtype=torch.bool)
    for c in classes:
        pasted_Bhw |= others_Bhw == c
    pasted_Bhw &= chosen_B[:, None, None]
    images_B3hw = torch.where(pasted_Bhw[:, None], images_N3hw[other_B], images_B3hw)
    return images_B3hw, torch.where(pasted_Bhw, others_Bhw, labels_Bhw)


def _cut_box(image_3HW: Tensor, label_HW: Tensor, box: Box | None) -> View:
    """The box that fills the crop once scaled: the pixels outside of it are neither copied nor scaled.

    It stays a view where it lies within the frame.
    """
    if box is None:
        return image_3HW, label_HW
    return _cut(image_3HW, box, list(PADDING_COLOUR)), _cut(label_HW[None], box, [IGNORE_INDEX])[0]


def _resized(image_3hw: Tensor, label_hw: Tensor, size: Size) -> View:
    """A box in the size of the crop."""
    if tuple(label_hw.shape) == tuple(size):
        return image_3hw, label_hw
    image_3hw = F.resize(image_3hw, list(size), interpolation=F.InterpolationMode.BILINEAR, antialias=True)
    label_1hw = F.resize(label_hw[None], list(size), interpolation=F.InterpolationMode.NEAREST)
    return image_3hw, label_1hw[0]


def _recoloured(image_3hw: Tensor, colours: Recolouring) -> Tensor:
    image_3hw = F.adjust_brightness(image_3hw, colours.brightness)
    image_3hw = F.adjust_contrast(image_3hw, colours.contrast)
    image_3hw = F.adjust_saturation(image_3hw, colours.saturation)
    recoloured_3hw: Tensor = F.adjust_hue(image_3hw, colours.hue)
    return recoloured_3hw


def _cut(frame_cHW: Tensor, box: Box, fill: list[int]) -> Tensor:
    """Pixels [c,h,w] of a box; filled where it leaves the frame."""
    height, width = frame_cHW.shape[-2:]
    bottom, right = box.top + box.size[0], box.left + box.size[1]
    inside_chw = frame_cHW[:, max(0, box.top) : bottom, max(0, box.left) : right]
    padding = [max(0, -box.left), max(0, -box.top), max(0, right - width), max(0, bottom - height)]
    return F.pad(inside_chw, padding, fill=fill) if any(padding) else inside_chw
