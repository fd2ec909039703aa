"""How much each class relies on each other class as its context: erase one, and see what the others lose.

Source: Shetty, Schiele, Fritz, CVPR 2019, arXiv 1812.06707; here by the labels' own masks and with plain fills.

Entry [z, c] of the reliance is the IoU of class c before class z is erased minus the IoU after it. Both are of one set
of pixels and frames: the pixels labelled neither z nor ignored, in the frames that are labelled with z and with c (in
all others nothing of c changes, or there is nothing to change), from hits and unions that are summed over those frames.
Positive: c is recognised by z. 0: z does not matter. NaN: z and c never meet, or are the same.
A frame is predicted once as it is and once for each class that is erased in it: at most C + 1 passes over the sample.
Shapes: F frames of the sample, B batch, P pairs of a frame and a class in it, C classes, H W frame.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from trainable.data.frames import Frames
from trainable.evaluate.config import Context, OnChangedFrames
from trainable.evaluate.evaluate import batches_on_rank
from trainable.evaluate.metrics.confusion import image_confusions
from trainable.ranks.group import summed
from trainable.suppression.drop import Drop
from trainable.suppression.erase import NOISE_LEVELS, Erasure
from trainable.suppression.mechanism_sections import Erase
from trainable.train.compute import Compute

Predict = Callable[[Tensor], Tensor]
"""Predicted classes [B,H,W] of a network's input [B,3,H,W]."""
Pair = tuple[int, int]
"""Place of a frame in its batch, and a class that is erased in it."""


def sampled_frames(frames: int, section: OnChangedFrames) -> Tensor:
    """Indices of some frames of a split in rising order; equal in every trial, and more of them hold fewer."""
    order_N = torch.randperm(frames, generator=torch.Generator().manual_seed(0))
    return order_N[: section.count(frames)].sort().values


def context_reliance(
    predict: Predict, compute: Compute, frames: Frames, names: Sequence[str], context: Context, batch_size: int
) -> Tensor:
    """Reliance float64 [C,C] on the CPU: rows are the class z that is erased, columns the class c that loses."""
    erased = range(len(names)) if context.classes == "all" else sorted(map(names.index, context.classes))
    pixels_NC = frames.class_pixels(len(names))
    batches = batches_on_rank(sampled_frames(len(frames), context), batch_size)
    tally = _Tally(len(names), compute.device)
    for chosen_B, (images_B3HW, labels_BHW) in zip(batches, frames.batches(batches), strict=True):
        input_B3HW = compute.network_input(images_B3HW.to(compute.device))
        labels_BHW = labels_BHW.to(compute.device).long()
        before_BHW = predict(input_B3HW)
        numbers = chosen_B.tolist()
        for pairs in _batched([(b, z) for b, n in enumerate(numbers) for z in erased if pixels_NC[n, z]], batch_size):
            changed = [
                _without(input_B3HW[b : b + 1], labels_BHW[b : b + 1], z, numbers[b], context, compute, len(names))
                for b, z in pairs
            ]
            after_P3HW, untouched_PHW = (torch.cat(parts) for parts in zip(*changed, strict=True))
            tally.add([z for _, z in pairs], untouched_PHW, before_BHW[[b for b, _ in pairs]], predict(after_P3HW))
    return tally.reliance()


def _batched(pairs: Sequence[Pair], size: int) -> Iterator[Sequence[Pair]]:
    """Pairs of one batch of frames, as many at a time as there are frames in a batch."""
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size]


def _without(
    input_13HW: Tensor, label_1HW: Tensor, z: int, number: int, context: Context, compute: Compute, classes: int
) -> tuple[Tensor, Tensor]:
    """A frame without the pixels of a class, and its labels with those pixels ignored.

    What is drawn depends on the frame's number and the class alone, not on the trial or on other frames of the batch.
    """
    drop = replace(Drop.of(z, classes, compute.device), seed=256 * number + z)
    erasure = Erasure.of(Erase(name="erase", fill=context.fill), label_1HW, drop)
    return erasure.applied(input_13HW, compute.levels(NOISE_LEVELS)), erasure.labels(label_1HW)


class _Tally:
    """Hits and unions of class c over the frames that hold c and z, before and after z is erased: int64 [2,C,C]."""

    def __init__(self, classes: int, device: torch.device) -> None:
        self.classes = classes
        self.hits_2CC, self.unions_2CC = torch.zeros(2, 2, classes, classes, dtype=torch.int64, device=device)

    def add(self, erased: Sequence[int], untouched_PHW: Tensor, before_PHW: Tensor, after_PHW: Tensor) -> None:
        """Take the predictions of frames with the class that is erased in each."""
        erased_P = torch.tensor(erased, device=untouched_PHW.device)
        for when, predicted_PHW in enumerate((before_PHW, after_PHW)):
            matrices_PCC = image_confusions(untouched_PHW, predicted_PHW, self.classes)
            hits_PC, labelled_PC = matrices_PCC.diagonal(dim1=1, dim2=2), matrices_PCC.sum(dim=2)
            unions_PC = labelled_PC + matrices_PCC.sum(dim=1) - hits_PC
            present_PC = labelled_PC > 0  # else the frame holds no pixel of c, and only false ones would count
            self.hits_2CC[when].index_add_(0, erased_P, hits_PC * present_PC)
            self.unions_2CC[when].index_add_(0, erased_P, unions_PC * present_PC)

    def reliance(self) -> Tensor:
        """IoU before minus IoU after, of the frames of all ranks."""
        ious_2CC = summed(self.hits_2CC).double() / summed(self.unions_2CC)
        reliance_CC: Tensor = ious_2CC[0] - ious_2CC[1]
        return reliance_CC.cpu()
