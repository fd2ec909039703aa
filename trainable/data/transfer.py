"""Copy frames to the trial's device; to a GPU once per batch, by way of pinned memory.

A copy from elsewhere waits for all that the GPU has to do, and many small ones cost the processor more than one large.
Shapes: B batch, H W frame.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from trainable.data.frames import Batch, Frames


def to_device(parts: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Tensors of bytes (uint8) on ``device``, each in its shape; on a GPU they are parts of one tensor.

    To a GPU the copy is queued in the current stream. The tensors given may change as soon as this returns.
    """
    if device.type != "cuda":
        return [part.to(device) for part in parts]
    pinned = torch.empty(sum(part.numel() for part in parts), dtype=torch.uint8, pin_memory=True)
    fill(pinned, parts)
    return divided(pinned.to(device, non_blocking=True), parts)


def fill(memory: Tensor, parts: Sequence[Tensor]) -> None:
    """Copy the bytes of all parts into ``memory`` [bytes], one after the other."""
    for place, part in zip(divided(memory, parts), parts, strict=True):
        place.copy_(part)


def divided(memory: Tensor, parts: Sequence[Tensor]) -> list[Tensor]:
    """Views of ``memory`` [bytes] in the shapes of the parts."""
    places = torch.split(memory, [part.numel() for part in parts])
    return [place.view(part.shape) for place, part in zip(places, parts, strict=True)]


def device_batches(frames: Frames, indices: Sequence[Tensor], device: torch.device) -> Iterator[Batch]:
    """Yield the batch of each index tensor [B] on ``device``: images uint8 [B,3,H,W] and labels uint8 [B,H,W]."""
    if device.type != "cuda":
        yield from ((images.to(device), labels.to(device)) for images, labels in frames.batches(indices))
        return
    for chosen_B in indices:
        images, labels = zip(*frames.views(chosen_B), strict=True)
        on_device = to_device([*images, *labels], device)
        frames.release(chosen_B)
        yield torch.stack(on_device[: len(images)]), torch.stack(on_device[len(images) :])
