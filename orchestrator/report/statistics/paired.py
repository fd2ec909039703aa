"""Paired comparisons of arms with one baseline: difference, interval, exact sign-flip test, Holm.

Every arm ran once per block (a seed), so arms are compared by their differences within blocks. Runs that failed, were
stopped early or ended without a number are absent from the values; a pair needs both its runs, and blocks without a
pair are reported, never filled in.

The test and the interval of one comparison are those of `sign_flip`; here they meet the arms.

Sources: Holm, Scand. J. Statist. 6, 1979; Benjamini, Hochberg, JRSS B 57, 1995; Agarwal et al., NeurIPS 2021,
arXiv 2108.13264 (probability of improvement).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.report.statistics.adjusted import benjamini_hochberg, holm
from orchestrator.report.statistics.sign_flip import TIE, Floats, mean_interval, sign_flip

Values = Mapping[str, Mapping[int, float]]
"""Arm -> block -> last epoch's value, of complete runs only."""
PairTest = Callable[[str, Sequence[int], Floats], float | None]
"""An arm, the blocks of its pairs and their differences -> p; None where they are too few."""


def fixed_test(_arm: str, _blocks: Sequence[int], differences: Floats) -> float | None:
    """The sign-flip test of all pairs, which nobody looked at before."""
    return sign_flip(differences) if len(differences) > 1 else None


@dataclass(frozen=True)
class PairedDifference:
    """One arm against the baseline, in the metric's units; over the complete pairs unless said otherwise."""

    arm: str
    baseline: str
    metric: str
    n: int
    """Number of complete pairs."""
    missing: tuple[int, ...]
    """Blocks in which the arm or the baseline has no value."""
    baseline_mean: float
    """nan without a pair, like `arm_mean` and `difference`."""
    arm_mean: float
    baseline_std: float
    """Sample standard deviation; nan below two pairs."""
    arm_std: float
    difference: float
    """Mean of arm - baseline."""
    low: float | None
    """Confidence interval of the mean difference; None where there is none."""
    high: float | None
    p: float | None
    """Two-sided sign-flip test of the mean difference, over the looks where there were some; None below two pairs."""
    p_adjusted: float | None
    """Adjusted for all the comparisons made together (Holm, or Benjamini-Hochberg in `per_class`)."""
    improvement: float | None
    """Share of pairs in which the arm is better, ties count half; None without a pair."""
    better: bool | None
    """Whether the mean difference points in the wanted direction, significant or not; None where it is zero."""


def compare(
    values: Values,
    baseline: str,
    *,
    metric: str,
    greater_is_better: bool,
    blocks: Sequence[int],
    test: PairTest = fixed_test,
) -> list[PairedDifference]:
    """Compare every other arm with the baseline, in the order of the arms; p adjusted by Holm's method.

    The family is the one planned: an arm without two pairs has no p but still counts, as if its p were 1, so that a
    failed arm makes no other one significant. NaN and infinite values count as missing.

    Args:
        values: of every arm; one all of whose runs failed has an empty mapping.
        baseline: name of the arm that the others are compared with.
        metric: name of the metric, copied to the comparisons.
        greater_is_better: direction of the metric.
        blocks: the planned blocks; values of other blocks are ignored.
        test: gives each arm its p.

    Raises:
        ValueError: a block is named twice.
    """
    return _adjusted(_unadjusted(values, baseline, metric, greater_is_better, blocks, test), holm)


def per_class(
    values_by_class: Mapping[str, Values],
    baseline: str,
    *,
    greater_is_better: bool,
    blocks: Sequence[int],
    test: PairTest = fixed_test,
) -> list[PairedDifference]:
    """Compare every other arm with the baseline class by class; exploratory.

    Arguments and errors as those of `compare`. p is adjusted by Benjamini and Hochberg's method over
    all arms and classes at once: it bounds the expected share of false discoveries, not the chance of a single one.

    Returns:
        By class, then by arm; `metric` is the class's key.
    """
    differences = [
        comparison
        for name, values in values_by_class.items()
        for comparison in _unadjusted(values, baseline, name, greater_is_better, blocks, test)
    ]
    return _adjusted(differences, benjamini_hochberg)


def _unadjusted(
    values: Values, baseline: str, metric: str, greater_is_better: bool, blocks: Sequence[int], test: PairTest
) -> list[PairedDifference]:
    if len(set(blocks)) != len(blocks):
        raise ValueError(f"blocks: {list(blocks)} names a block twice; each pair counts once")
    arms = [arm for arm in values if arm != baseline]
    return [_comparison(values, arm, baseline, metric, greater_is_better, blocks, test) for arm in arms]


def _comparison(
    values: Values,
    arm: str,
    baseline: str,
    metric: str,
    greater_is_better: bool,
    blocks: Sequence[int],
    test: PairTest,
) -> PairedDifference:
    ours, theirs = values[arm], values.get(baseline, {})
    paired = [block for block in blocks if _has(ours, block) and _has(theirs, block)]
    x = np.array([theirs[block] for block in paired], dtype=np.float64)
    y = np.array([ours[block] for block in paired], dtype=np.float64)
    low, high = mean_interval(y - x)
    gains = y - x if greater_is_better else x - y
    return PairedDifference(
        arm=arm,
        baseline=baseline,
        metric=metric,
        n=len(paired),
        missing=tuple(block for block in blocks if block not in paired),
        baseline_mean=_mean(x),
        arm_mean=_mean(y),
        baseline_std=_std(x),
        arm_std=_std(y),
        difference=_mean(y - x),
        low=low,
        high=high,
        p=test(arm, paired, y - x),
        p_adjusted=None,
        improvement=_mean((np.sign(gains) + 1) / 2) if paired else None,
        better=_direction(gains),
    )


def adjusted_by_holm(ps: Sequence[float | None]) -> list[float | None]:
    """P values of comparisons made together, adjusted; one that has none stays in the family as if it were 1."""
    adjusted = holm([1.0 if p is None else p for p in ps])
    return [None if p is None else float(value) for p, value in zip(ps, adjusted, strict=True)]


def _adjusted(
    comparisons: Sequence[PairedDifference], method: Callable[[Sequence[float]], Floats]
) -> list[PairedDifference]:
    """The comparisons with p adjusted over all of them; one without p stays in the family as if p were 1."""
    adjusted = method([1.0 if c.p is None else c.p for c in comparisons])
    return [
        replace(c, p_adjusted=None if c.p is None else float(p)) for c, p in zip(comparisons, adjusted, strict=True)
    ]


def _has(runs: Mapping[int, float], block: int) -> bool:
    return block in runs and math.isfinite(runs[block])


def _direction(gains: Floats) -> bool | None:
    """Whether the mean gain is above zero; None where it is zero but for rounding, which depends on the order."""
    if not gains.size or abs(gains.mean()) <= TIE * np.abs(gains).max():
        return None
    return bool(gains.mean() > 0)


def _mean(x: Floats) -> float:
    return float(x.mean()) if x.size else math.nan


def _std(x: Floats) -> float:
    return float(x.std(ddof=1)) if x.size > 1 else math.nan
