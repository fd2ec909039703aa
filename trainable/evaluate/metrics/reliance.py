"""Scores from the matrix of reliance, in which class z is erased and class c loses IoU.

Shapes: C classes.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from trainable.evaluate.metrics.names import CONTEXT_RARE_RELIANCE, CONTEXT_RELIANCE, context_name


def reliance_scores(reliance_CC: Tensor, names: Sequence[str], rare: Sequence[int]) -> dict[str, float]:
    """Means over all entries, over those of rare classes that lose, and over each row; undefined ones are left out."""
    metrics = {context_name(name): float(row.nanmean()) for name, row in zip(names, reliance_CC, strict=True)}
    metrics |= {  # these win should a class be called like one of them
        CONTEXT_RELIANCE: float(reliance_CC.nanmean()),
        CONTEXT_RARE_RELIANCE: float(reliance_CC[:, list(rare)].nanmean()),
    }
    return {name: value for name, value in metrics.items() if not math.isnan(value)}
