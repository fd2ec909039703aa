"""Comparisons of arms against independent references, by their properties, and at their edges."""

import math
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from orchestrator.report.statistics.adjusted import benjamini_hochberg, holm
from orchestrator.report.statistics.paired import PairedDifference, Values, compare, per_class
from orchestrator.report.statistics.sign_flip import (
    EXACT_PAIRS,
    exact_sign_flip,
    mean_interval,
    seeds_needed,
    sign_flip,
    smallest_p,
)

HUNDREDTHS = st.lists(st.integers(-20, 20), min_size=1, max_size=9)
STUDIES = st.integers(2, 7).flatmap(
    lambda n: st.dictionaries(
        st.sampled_from(["a", "b", "c", "d"]),
        st.lists(st.integers(0, 100), min_size=n, max_size=n),
        min_size=2,
    )
)


@pytest.fixture(scope="module", autouse=True)
def _no_garbage_collection() -> Iterator[None]:
    """Spare the tests that `multipletests` of statsmodels collects garbage on every call, 25 ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gc.collect", lambda: 0)
        yield


def slow_sign_flip(differences: Sequence[int]) -> float:
    """All 2**n patterns, in whole numbers: no rounding, so ties are ties."""
    observed = abs(sum(differences))
    patterns = list(product((1, -1), repeat=len(differences)))
    return sum(abs(sum(s * d for s, d in zip(p, differences, strict=True))) >= observed for p in patterns) / len(
        patterns
    )


def study(*rows: Sequence[float]) -> dict[str, dict[int, float]]:
    """Arms plain, a, b, ... with the values of blocks 0, 1, ..."""
    names = ["plain", *"abcdefgh"]
    return {name: dict(enumerate(row)) for name, row in zip(names, rows, strict=False)}


def compared(
    values: Values, baseline: str = "plain", blocks: int = 8, greater_is_better: bool = True
) -> list[PairedDifference]:
    return compare(values, baseline, metric="val/miou", greater_is_better=greater_is_better, blocks=range(blocks))


def normal(n: int, seed: int = 0, mean: float = 0.0) -> list[float]:
    return list(np.random.default_rng(seed).normal(mean, size=n))


# the sign-flip test


@given(HUNDREDTHS)
def test_sign_flip_counts_every_pattern(hundredths: list[int]) -> None:
    # 0.1 + 0.2 and 0.3 are a tie, though not as floats
    assert sign_flip([d / 100 for d in hundredths]) == slow_sign_flip(hundredths)


@pytest.mark.parametrize("n", [2, 5, 8, 11])
def test_sign_flip_agrees_with_scipy(n: int) -> None:
    d = normal(n, seed=n, mean=0.5)
    test = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(d) == pytest.approx(test.pvalue, abs=1e-12)


def test_above_the_limit_patterns_are_drawn_and_close_to_all_of_them() -> None:
    d = np.array(normal(EXACT_PAIRS + 1, mean=0.4))
    exact = float(exact_sign_flip(d))
    assert 0.01 < exact < 0.5
    assert sign_flip(d) == pytest.approx(exact, abs=4 * math.sqrt(exact / 20_000))
    assert sign_flip(d) == sign_flip(d)


def test_at_the_limit_no_p_is_below_the_smallest() -> None:
    assert sign_flip([1.0 + i for i in range(EXACT_PAIRS)]) == smallest_p(EXACT_PAIRS)


def test_a_thousand_pairs() -> None:
    null, shifted = normal(1000, seed=1), normal(1000, seed=1, mean=0.2)
    assert sign_flip(null) == pytest.approx(stats.ttest_1samp(null, 0).pvalue, abs=0.02)
    assert 0 < sign_flip(shifted) < 1e-3


@given(HUNDREDTHS, st.floats(1e-6, 1e6))
def test_sign_flip_knows_no_direction_order_or_unit(hundredths: list[int], unit: float) -> None:
    p = sign_flip(hundredths)
    assert sign_flip([-d for d in hundredths]) == p
    assert sign_flip(sorted(hundredths)) == p
    assert sign_flip([d * unit for d in hundredths]) == p


@given(HUNDREDTHS)
def test_p_is_attainable(hundredths: list[int]) -> None:
    n = len(hundredths)
    p = sign_flip(hundredths)
    assert smallest_p(n) <= p <= 1
    assert (p / smallest_p(n)).is_integer()


@pytest.mark.parametrize("differences", [[], [math.nan, 1.0], [math.inf]])
def test_sign_flip_refuses_what_is_no_difference(differences: list[float]) -> None:
    with pytest.raises(ValueError, match="differences"):
        sign_flip(differences)


@pytest.mark.parametrize(
    ("comparisons", "alpha", "n"), [(1, 0.05, 6), (5, 0.05, 8), (6, 0.05, 8), (7, 0.05, 9), (1, 0.5, 2)]
)
def test_seeds_needed_is_the_first_number_that_can_pass(comparisons: int, alpha: float, n: int) -> None:
    assert seeds_needed(comparisons, alpha) == n
    assert smallest_p(n) <= alpha / comparisons < smallest_p(n - 1)


@pytest.mark.parametrize(("comparisons", "alpha"), [(0, 0.05), (1, 0.0), (1, 1.0)])
def test_seeds_needed_refuses_nonsense(comparisons: int, alpha: float) -> None:
    with pytest.raises(ValueError, match="comparisons"):
        seeds_needed(comparisons, alpha)


# the interval


@pytest.mark.parametrize("n", [2, 3, 8, 40, 80, 200])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_any_number_of_pairs_gets_students_interval(n: int, confidence: float) -> None:
    d = normal(n, seed=n)
    low, high = mean_interval(d, confidence)
    assert (low, high) == pytest.approx(DescrStatsW(d).tconfint_mean(1 - confidence))
    assert (low, high) == pytest.approx(tuple(stats.ttest_1samp(d, 0).confidence_interval(confidence)))


@pytest.mark.parametrize("n", [2, 7, 80])
@pytest.mark.parametrize("value", [0.0, 0.1, -3.0])
def test_without_spread_there_is_no_interval(n: int, value: float) -> None:
    assert mean_interval([value] * n, 0.95) == (None, None)


def test_without_spread_but_for_rounding_there_is_no_interval() -> None:
    assert mean_interval([0.3 - 0.2, 0.1, 0.8 - 0.7], 0.95) == (None, None)


def test_one_outlier_among_equal_differences_still_has_an_interval() -> None:
    low, high = mean_interval([0.0] * 79 + [1.0], 0.95)
    assert low is not None
    assert high is not None
    assert low <= 1 / 80 <= high


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_a_confidence_outside_0_and_1_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        mean_interval([0.1, 0.2], confidence)


# comparisons


def test_a_comparison_holds_what_was_computed_by_hand() -> None:
    [c] = compared(study([0.5, 0.6, 0.7, 0.8], [0.6, 0.6, 0.9, 0.7]), blocks=4)
    assert (c.arm, c.baseline, c.metric, c.n, c.missing) == ("a", "plain", "val/miou", 4, ())
    assert c.baseline_mean == pytest.approx(0.65)
    assert c.arm_mean == pytest.approx(0.7)
    assert c.difference == pytest.approx(0.05)
    assert c.baseline_std == pytest.approx(math.sqrt((0.15**2 + 0.05**2) * 2 / 3))
    assert c.p == slow_sign_flip([1, 0, 2, -1])
    assert c.p_adjusted == c.p
    assert c.improvement == pytest.approx((1 + 0.5 + 1 + 0) / 4)
    assert c.better is True


def test_a_metric_to_minimise_turns_what_is_better_and_nothing_else() -> None:
    values = study([0.5, 0.6, 0.7], [0.6, 0.7, 0.9])
    [up], [down] = compared(values, blocks=3), compared(values, blocks=3, greater_is_better=False)
    assert (up.better, up.improvement, down.better, down.improvement) == (True, 1.0, False, 0.0)
    assert (up.difference, up.low, up.high, up.p) == (down.difference, down.low, down.high, down.p)


def test_arms_keep_their_order_and_share_one_family() -> None:
    values = study(*(normal(8, seed=i, mean=m) for i, m in enumerate([0.0, 2.0, 0.5, 1.5, 0.0])))
    found = compared(values)
    assert [c.arm for c in found] == ["a", "b", "c", "d"]
    ps = [c.p for c in found]
    assert [c.p_adjusted for c in found] == pytest.approx(multipletests(ps, method="holm")[1])
    assert [c.p_adjusted for c in found] == pytest.approx(slow_holm(ps))


def slow_holm(ps: Sequence[float]) -> list[float]:
    """Holm 1979 by its closed test: the largest Bonferroni p of the sets of hypotheses that hold each."""
    subsets = [[i for i, kept in enumerate(mask) if kept] for mask in product((0, 1), repeat=len(ps)) if any(mask)]
    return [
        max(min(1.0, len(subset) * min(ps[j] for j in subset)) for subset in subsets if i in subset)
        for i in range(len(ps))
    ]


def test_missing_runs_leave_the_pair_out_and_are_named() -> None:
    values = {"plain": {0: 0.5, 1: 0.6, 3: 0.7}, "a": {0: 0.6, 2: 0.9, 3: 0.9, 9: 5.0}}
    [c] = compared(values, blocks=5)
    assert (c.n, c.missing) == (2, (1, 2, 4))
    assert c.baseline_mean == pytest.approx(0.6)
    assert c.arm_mean == pytest.approx(0.75)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_is_missing(bad: float) -> None:
    with_bad = study([0.5, 0.6, 0.7], [0.6, bad, 0.9])
    without = {"plain": with_bad["plain"], "a": {0: 0.6, 2: 0.9}}
    assert compared(with_bad, blocks=3) == compared(without, blocks=3)
    assert compared(with_bad, blocks=3)[0].missing == (1,)


def test_one_pair_has_a_difference_and_no_more() -> None:
    [c] = compared(study([0.5], [0.7]), blocks=1)
    assert c.difference == pytest.approx(0.2)
    assert (c.n, c.low, c.high, c.p, c.p_adjusted) == (1, None, None, None, None)
    assert math.isnan(c.arm_std)
    assert (c.improvement, c.better) == (1.0, True)


@pytest.mark.parametrize("values", [{"plain": {}, "a": {0: 0.5}}, {"plain": {1: 0.5}, "a": {0: 0.5}}, {"a": {0: 0.5}}])
def test_no_pair_is_reported_as_such(values: Values) -> None:
    [c] = compared(values, blocks=2)
    assert (c.n, c.missing, c.p, c.improvement, c.better, c.low) == (0, (0, 1), None, None, None, None)
    assert all(math.isnan(x) for x in (c.baseline_mean, c.arm_mean, c.baseline_std, c.arm_std, c.difference))


def test_equal_arms_differ_by_nothing() -> None:
    [c] = compared(study([0.5, 0.6, 0.7], [0.5, 0.6, 0.7]), blocks=3)
    assert (c.difference, c.p, c.p_adjusted, c.improvement, c.better, c.low) == (0.0, 1.0, 1.0, 0.5, None, None)


def test_a_failed_arm_makes_no_other_arm_significant() -> None:
    values = study([0.0] * 6, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [])
    found = compared(values, blocks=6)
    assert [c.p for c in found] == [smallest_p(6), None]
    assert [c.p_adjusted for c in found] == [2 * smallest_p(6), None]


def test_nothing_to_compare() -> None:
    assert compared({"plain": {0: 0.5}}) == []


def test_a_block_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        compare({"plain": {}, "a": {}}, "plain", metric="m", greater_is_better=True, blocks=[0, 1, 1])


# properties of whole studies


def hundredths_study(rows: dict[str, list[int]], offset: Sequence[int] | None = None, unit: float = 0.01) -> Values:
    """Values of a study; offset [n] is added to all arms of a block."""
    return {arm: {i: (v + (offset[i] if offset else 0)) * unit for i, v in enumerate(row)} for arm, row in rows.items()}


def verdicts(values: Values, greater_is_better: bool = True) -> dict[str, tuple[object, ...]]:
    found = compared(values, baseline=sorted(values)[0], greater_is_better=greater_is_better)
    return {c.arm: (c.p, c.p_adjusted, c.improvement, c.better) for c in found}


@given(STUDIES)
@example(rows={"a": [0, 80, 100], "b": [42, 89, 49]})  # equal means, but for rounding
def test_the_order_of_arms_and_blocks_does_not_matter(rows: dict[str, list[int]]) -> None:
    turned = dict(reversed(rows.items()))
    assert verdicts(hundredths_study(turned)) == verdicts(hundredths_study(rows))
    mirrored = {arm: row[::-1] for arm, row in rows.items()}
    assert verdicts(hundredths_study(mirrored)) == verdicts(hundredths_study(rows))


@given(STUDIES, st.lists(st.integers(-50, 50), min_size=7, max_size=7))
def test_what_a_seed_adds_to_all_arms_does_not_matter(rows: dict[str, list[int]], offset: list[int]) -> None:
    shifted, plain = verdicts(hundredths_study(rows, offset)), verdicts(hundredths_study(rows))
    for arm, (p, p_adjusted, *_) in plain.items():
        assert shifted[arm][:2] == (p, p_adjusted)


@given(STUDIES, st.sampled_from([1e-9, 1.0, 100.0, 1e12]))
def test_the_unit_does_not_matter(rows: dict[str, list[int]], unit: float) -> None:
    assert {a: v[:2] for a, v in verdicts(hundredths_study(rows, unit=unit)).items()} == {
        a: v[:2] for a, v in verdicts(hundredths_study(rows)).items()
    }


@given(STUDIES)
def test_turning_all_signs_mirrors_the_comparison(rows: dict[str, list[int]]) -> None:
    baseline = sorted(rows)[0]
    values = hundredths_study(rows)
    negated = {arm: {i: -v for i, v in row.items()} for arm, row in values.items()}
    for c, m in zip(compared(values, baseline), compared(negated, baseline), strict=True):
        assert (m.p, m.p_adjusted, m.n) == (c.p, c.p_adjusted, c.n)
        assert m.difference == -c.difference
        assert m.improvement == pytest.approx(1 - c.improvement)
        if c.low is not None:
            assert (m.low, m.high) == pytest.approx((-c.high, -c.low))


@given(STUDIES)
def test_holm_keeps_the_order_of_p_and_only_raises_it(rows: dict[str, list[int]]) -> None:
    found = compared(hundredths_study(rows), sorted(rows)[0])
    by_p = sorted(found, key=lambda c: c.p)
    adjusted = [c.p_adjusted for c in by_p]
    assert adjusted == sorted(adjusted)
    assert all(c.p <= c.p_adjusted <= min(1, len(found) * c.p) + 1e-12 for c in found)


@given(STUDIES)
def test_the_interval_holds_the_difference_of_the_means(rows: dict[str, list[int]]) -> None:
    for c in compared(hundredths_study(rows), sorted(rows)[0]):
        assert c.difference == pytest.approx(c.arm_mean - c.baseline_mean, abs=1e-12)
        if c.low is not None:
            assert c.low <= c.difference <= c.high


# classes


def test_classes_and_arms_share_one_false_discovery_rate() -> None:
    classes = {
        name: study(*(normal(8, seed=10 * k + i, mean=m) for i, m in enumerate([0.0, 1.5, 0.3])))
        for k, name in enumerate(["road", "fence", "bicyclist"])
    }
    found = per_class(classes, "plain", greater_is_better=True, blocks=range(8))
    assert [(c.metric, c.arm) for c in found] == [(name, arm) for name in classes for arm in "ab"]
    assert [c.p for c in found] == [c.p for name in classes for c in compared(classes[name])]
    assert [c.p_adjusted for c in found] == pytest.approx(stats.false_discovery_control([c.p for c in found]))


def test_a_class_without_values_stays_in_the_family() -> None:
    classes = {"road": study([0.0] * 6, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), "train": study([math.nan] * 6, [math.nan] * 6)}
    road, train = per_class(classes, "plain", greater_is_better=True, blocks=range(6))
    assert (road.p, road.p_adjusted) == (smallest_p(6), 2 * smallest_p(6))
    assert (train.n, train.p, train.p_adjusted) == (0, None, None)


def test_no_classes() -> None:
    assert per_class({}, "plain", greater_is_better=True, blocks=range(2)) == []


@given(st.lists(st.floats(0, 1) | st.sampled_from([0.01, 0.04, 1.0]), min_size=1, max_size=30))
def test_adjusted_p_values_are_those_of_statsmodels(ps: list[float]) -> None:
    assert holm(ps) == pytest.approx(multipletests(ps, method="holm")[1])
    assert benjamini_hochberg(ps) == pytest.approx(multipletests(ps, method="fdr_bh")[1])


def test_nothing_compared_is_nothing_adjusted() -> None:
    assert holm([]).tolist() == benjamini_hochberg([]).tolist() == []
