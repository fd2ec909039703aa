"""Two groups of runs without common seeds: the difference of their means, which has more noise than a paired one.

Source: Welch, Biometrika 34, 1947.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.report.statistics.sign_flip import CONFIDENCE


@dataclass(frozen=True)
class UnpairedDifference:
    """The difference of two means, in the metric's units; None where there are too few runs to tell."""

    difference: float
    low: float | None
    """Confidence interval of the difference."""
    high: float | None
    p: float | None
    """Two-sided, of Welch's t test; adjusted for nothing."""


def welch(first: Sequence[float], second: Sequence[float]) -> UnpairedDifference:
    """Mean of the second group minus mean of the first.

    Raises:
        ValueError: A group is empty.
    """
    if not first or not second:
        raise ValueError("a group without a run has no mean")
    difference = float(np.mean(second) - np.mean(first))
    if min(len(first), len(second)) < 2 or np.std(first) + np.std(second) == 0:
        return UnpairedDifference(difference, None, None, None)
    from scipy import stats  # late: most groups have one run

    tested = stats.ttest_ind(second, first, equal_var=False)
    bounds = tested.confidence_interval(CONFIDENCE)
    return UnpairedDifference(difference, float(bounds.low), float(bounds.high), float(tested.pvalue))
