"""A metric: recall of the rare classes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trainable.parts import ClassFacts, Metric


class RareRecall(Metric):
    """Mean over the rare classes of the share of a class's pixels that is found; over all where none is rare."""

    def begin(self, facts: ClassFacts) -> None:
        """Which classes count."""
        self.classes = len(facts.names)
        self.rare = list(facts.rare) or list(range(self.classes))

    def measure(self, logits_BCHW: Tensor, labels_BHW: Tensor) -> Tensor:
        """Pixels found and pixels labelled of each class, [2,C]."""
        right_BHW = logits_BCHW.argmax(dim=1) == labels_BHW
        counted = [torch.bincount(labels_BHW[where], minlength=256) for where in (right_BHW, labels_BHW != 255)]
        return torch.stack(counted)[:, : self.classes]

    def value(self, total: Tensor) -> float:
        """Mean of the classes that occur."""
        return float((total[0] / total[1])[self.rare].nanmean())

    def per_class(self, total: Tensor) -> Sequence[float]:
        """Recall of each class."""
        recall: list[float] = (total[0] / total[1]).tolist()
        return recall
