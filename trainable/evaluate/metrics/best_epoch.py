"""A trial's best epoch, by which published tables often select. It is shown beside the last one and decides nothing.

The best of several noisy values is on average better than a value taken without a look: the longer the training and
the more it fluctuates, the more so (Cawley, Talbot, JMLR 11, 2010). Imports no torch.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class BestEpoch:
    """The epoch with the best value of a metric."""

    value: float
    epoch: int
    """From 1."""

    @classmethod
    def of(cls, values: Iterable[float | None], *, greater: bool) -> Self | None:
        """The first of the best; None where no epoch has a finite value.

        Args:
            values: A value for each epoch, the first is epoch 1's; None and NaN where an epoch has none.
            greater: Whether larger values are better.
        """
        known = [cls(v, epoch) for epoch, v in enumerate(values, start=1) if v is not None and math.isfinite(v)]
        sign = 1 if greater else -1
        return max(known, key=lambda best: sign * best.value, default=None)


def best_epoch_label(*, greater: bool) -> str:
    """What values of best epochs are called wherever they are shown; of a metric of which less is better, too low."""
    return f"best epoch, biased {'upwards' if greater else 'downwards'}"
