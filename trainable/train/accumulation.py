"""A step in micro-batches: the gradients of each add up to those of the whole batch.

What is drawn is drawn for the whole batch, and every mean over pixels or images is one over the whole batch: labels
are known before any pass, so a micro-batch's loss is its part of the batch's. Without batch norm, whose statistics are
those of a micro-batch, and dropout, the step is that of the whole batch but for rounding.
Shapes: P paths, B batch, H W crop.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from trainable.model.segmenter import Segmenter
from trainable.suppression.config import SuppressionConfig
from trainable.suppression.drop import Drop
from trainable.suppression.erase import Erasure
from trainable.suppression.loss import PathLoss, PathLosses
from trainable.train.clock import PartClock
from trainable.train.compute import Compute
from trainable.train.step import (
    Batch,
    erased_input,
    erased_losses,
    map_edits,
    plain_losses,
    share,
    two_path_losses,
)


@dataclass(frozen=True)
class WholeBatch:
    """What a step has drawn for its batch, before any pass."""

    seen: Batch
    """The batch, pixels erased in its images where the step erases there."""
    drop: Drop | None
    erasure: Erasure | None
    suppression: SuppressionConfig | None
    scored_PBHW: tuple[Tensor, Tensor]
    """Labels that each path is scored by."""
    divided_PBHW: tuple[Tensor, Tensor]
    """Labels whose weight each path's loss is divided by."""

    @classmethod
    def of(
        cls,
        batch: Batch,
        drop: Drop | None,
        suppression: SuppressionConfig | None,
        compute: Compute,
        clock: PartClock | None,
    ) -> Self:
        """Erase what the drop erases at the input."""
        seen, erasure = batch, None
        if suppression is not None:
            with clock.forward() if clock else nullcontext():
                seen, erasure = erased_input(batch, drop, suppression, compute)
        scored = (seen.labels_BHW, seen.labels_BHW if drop is None else drop.labels(seen.labels_BHW))
        keep = suppression is not None and suppression.reweight == "keep" and drop is not None
        divided = (batch.labels_BHW, batch.labels_BHW) if keep else scored
        return cls(seen, drop, erasure, suppression, scored, divided)

    def micro_batches(self, size: int) -> Iterator[slice]:
        """The images of each micro-batch of ``size``; the last of a batch that is not complete may be smaller."""
        images = len(self.seen.labels_BHW)
        for first in range(0, images, size):
            yield slice(first, min(first + size, images))

    def losses(
        self,
        rows: slice,
        model: Segmenter,
        class_weights_C: Tensor | None,
        clock: PartClock | None,
        path_loss: PathLoss,
    ) -> PathLosses:
        """The part that a micro-batch has in the terms of the whole batch's loss."""
        labels_BHW = self.seen.labels_BHW
        batch = Batch(self.seen.images_B3HW[rows], labels_BHW[rows], labels_BHW)
        drop = None if self.drop is None else self.drop.part(rows, len(labels_BHW))
        if self.suppression is None:
            terms = plain_losses(model, batch, class_weights_C, path_loss)
        elif model.layers:
            terms, _ = two_path_losses(model, batch, drop, class_weights_C, clock, path_loss)
        else:
            erasure = None if self.erasure is None else self.erasure.part(rows)
            edits = map_edits(erasure, self.suppression)
            terms = erased_losses(model, batch, edits, class_weights_C, path_loss)
        parts = (
            share(scored[rows], divided, class_weights_C)
            for scored, divided in zip(self.scored_PBHW, self.divided_PBHW, strict=True)
        )
        return terms.times(*parts)


def together(parts: Sequence[PathLosses], drop: Drop | None) -> PathLosses:
    """The terms of the whole batch, from the parts of all of its micro-batches."""
    names = [field.name for field in fields(PathLosses) if getattr(parts[0], field.name) is not None]
    terms = {name: [getattr(part, name) for part in parts] for name in names if name != "dropped_share"}
    predicted = terms.pop("predicted", None)
    return PathLosses(
        **{name: torch.stack(values).sum(dim=0) for name, values in terms.items()},
        predicted=None if predicted is None else torch.cat(predicted),
        dropped_share=0.0 if drop is None else drop.share,
    )
