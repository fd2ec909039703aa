"""What the statistics claim, checked in simulated studies: coverage, false positives, power.

Every check simulates 2,000 studies with a fixed seed. Where a rate is claimed, the simulated one has to lie within the
95 % binomial interval of the claim. Checks that come in numbers, or beside those, use a wider one: of twenty 95 %
checks of a right program one fails.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from scipy import stats

from orchestrator.report.statistics.effects import effects
from orchestrator.report.statistics.paired import PairedDifference, compare
from orchestrator.report.statistics.power import detectable_effect, power
from orchestrator.report.statistics.sign_flip import Floats, exact_sign_flip, t_interval

STUDIES = 2000
PAIRS = 8
ARMS = 5
LEVEL = 12 / 256  # the largest attainable level of 8 pairs that is not above 5 %

Draw = Callable[[np.random.Generator, int], Floats]


def within(hits: int, rate: float, studies: int = STUDIES, confidence: float = 0.95) -> bool:
    low, high = stats.binom.interval(confidence, studies, rate)
    return bool(low <= hits <= high)


@dataclass(frozen=True)
class Simulated:
    """PairedDifferences of all studies and the truth behind them."""

    found: list[list[PairedDifference]]
    """[study][arm]."""
    truth: tuple[float, ...]
    """Mean difference of each arm."""

    def rejected(self, *, adjusted: bool) -> np.ndarray:
        """[study, arm] p at most 5 %."""
        return np.array([[(c.p_adjusted if adjusted else c.p) <= 0.05 for c in study] for study in self.found])


def simulate(truth: tuple[float, ...], seed: int) -> Simulated:
    """Arms that share one baseline; seeds differ by far more than runs with the same seed do."""
    rng = np.random.default_rng(seed)
    names = ["plain", *(f"arm{i}" for i in range(len(truth)))]
    found = []
    for _ in range(STUDIES):
        seeds = 0.5 + 0.1 * rng.normal(size=PAIRS)
        runs = seeds + 0.01 * (rng.normal(size=(len(names), PAIRS)) + np.array([0.0, *truth])[:, None])
        values = {name: dict(enumerate(row)) for name, row in zip(names, runs.tolist(), strict=True)}
        found.append(compare(values, "plain", metric="m", greater_is_better=True, blocks=range(PAIRS)))
    return Simulated(found, tuple(0.01 * x for x in truth))


@pytest.fixture(scope="module")
def null() -> Simulated:
    return simulate((0.0,) * ARMS, seed=1)


@pytest.fixture(scope="module")
def one_works() -> Simulated:
    return simulate((3.0,) + (0.0,) * (ARMS - 1), seed=2)


# whole studies under the null


@pytest.mark.parametrize("arm", [0, ARMS - 1])
def test_a_single_comparison_is_wrong_as_often_as_claimed(null: Simulated, arm: int) -> None:
    assert within(int(null.rejected(adjusted=False)[:, arm].sum()), LEVEL)


def test_holm_keeps_the_family_wise_error_below_5_percent(null: Simulated) -> None:
    unadjusted = int(null.rejected(adjusted=False).any(axis=1).sum())
    adjusted = int(null.rejected(adjusted=True).any(axis=1).sum())
    assert unadjusted > stats.binom.ppf(0.999, STUDIES, 0.05)  # five arms need it
    assert adjusted <= stats.binom.ppf(0.95, STUDIES, 0.05)
    assert adjusted >= stats.binom.ppf(0.001, STUDIES, 2 / 2**PAIRS)  # what one arm alone reaches: it does reject


def test_holm_keeps_it_for_the_arms_that_do_nothing_beside_one_that_works(one_works: Simulated) -> None:
    idle = one_works.rejected(adjusted=True)[:, 1:]
    assert idle.any(axis=1).sum() <= stats.binom.ppf(0.95, STUDIES, 0.05)


@pytest.mark.parametrize("arm", range(ARMS))
def test_intervals_of_null_comparisons_hold_zero_as_often_as_claimed(null: Simulated, arm: int) -> None:
    hits = sum(study[arm].low <= 0 <= study[arm].high for study in null.found)
    assert within(hits, 0.95, confidence=0.99)


def test_intervals_hold_the_true_effect_as_often_as_claimed(one_works: Simulated) -> None:
    hits = sum(study[0].low <= one_works.truth[0] <= study[0].high for study in one_works.found)
    assert within(hits, 0.95)


def test_the_probability_of_improvement_is_even_under_the_null(null: Simulated) -> None:
    pairs = np.array([study[0].improvement for study in null.found]) * PAIRS
    assert within(round(pairs.sum()), 0.5, studies=STUDIES * PAIRS, confidence=0.99)


def test_the_effect_of_the_arm_that_works_is_found_as_predicted(one_works: Simulated) -> None:
    # the difference of two runs has sqrt(2) times the standard deviation of one
    predicted = power(PAIRS, 3 / 2**0.5, comparisons=ARMS)
    hits = int(one_works.rejected(adjusted=True)[:, 0].sum())
    assert within(hits, predicted)


# the test: the attained level, whatever the distribution


DISTRIBUTIONS: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(size=(STUDIES, n)),
    "heavy tails": lambda rng, n: rng.standard_t(1.5, size=(STUDIES, n)),
    "one seed much noisier": lambda rng, n: rng.normal(size=(STUDIES, n)) * np.array([20.0] + [1.0] * (n - 1)),
    "two peaks": lambda rng, n: rng.choice([-1.0, 1.0], size=(STUDIES, n)) + 0.1 * rng.normal(size=(STUDIES, n)),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("n", [6, 8, 10])
def test_every_attainable_level_is_attained(name: str, n: int) -> None:
    p = exact_sign_flip(DISTRIBUTIONS[name](np.random.default_rng(n), n))
    for patterns in (1, 2, 2 ** (n - 1) // 20, 2 ** (n - 2)):  # 5 %, rounded down, and one half among them
        level = patterns / 2 ** (n - 1)
        assert within(int((p <= level).sum()), level, confidence=0.999)


def test_ties_make_the_test_careful_not_careless() -> None:
    p = exact_sign_flip(np.random.default_rng(0).integers(-2, 3, size=(STUDIES, PAIRS)) / 100)
    assert 0 < (p <= 0.05).sum() <= stats.binom.ppf(0.975, STUDIES, LEVEL)


# the interval: where its level holds, and where it does not


@pytest.mark.parametrize("n", [3, 5, 8, 20])
def test_students_interval_covers_normal_differences(n: int) -> None:
    low, high = t_interval(0.7 + np.random.default_rng(n).normal(size=(STUDIES, n)), 0.95)
    assert within(int(((low <= 0.7) & (high >= 0.7)).sum()), 0.95)


@pytest.mark.parametrize(
    ("skewed", "documented"),
    [
        (lambda rng: rng.exponential(size=(STUDIES, PAIRS)) - 1, 0.888),
        (lambda rng: rng.lognormal(size=(STUDIES, PAIRS)) - np.exp(0.5), 0.837),
    ],
)
def test_students_interval_under_covers_skewed_differences_as_documented(
    skewed: Callable[[np.random.Generator], Floats], documented: float
) -> None:
    low, high = t_interval(skewed(np.random.default_rng(5)), 0.95)
    hits = int(((low <= 0) & (high >= 0)).sum())
    assert within(hits, documented, confidence=0.99)
    assert not within(hits, 0.95, confidence=0.999)


# power


@pytest.mark.parametrize(
    ("n", "effect", "comparisons"), [(6, 1.5, 1), (8, 0.6, 1), (8, 1.2, 1), (8, 1.5, 6), (10, 1.0, 4), (16, 0.8, 1)]
)
def test_power_is_as_predicted(n: int, effect: float, comparisons: int) -> None:
    differences = effect + np.random.default_rng(1000 + n).normal(size=(STUDIES, n))
    p = np.concatenate([exact_sign_flip(few) for few in np.array_split(differences, 50)])
    assert within(int((p <= 0.05 / comparisons).sum()), power(n, effect, comparisons), confidence=0.99)


@pytest.mark.parametrize(("n", "comparisons"), [(8, 1), (8, 5), (14, 3)])
def test_the_detectable_effect_is_found_in_80_of_100_studies(n: int, comparisons: int) -> None:
    effect = detectable_effect(n, comparisons)
    assert effect is not None
    differences = effect + np.random.default_rng(2000 + n).normal(size=(STUDIES, n))
    p = np.concatenate([exact_sign_flip(few) for few in np.array_split(differences, 50)])
    assert within(int((p <= 0.05 / comparisons).sum()), 0.8, confidence=0.99)


# effects of factors


def test_effects_of_a_factorial_keep_their_levels() -> None:
    rng = np.random.default_rng(3)
    factors = {"a": (0, 1), "b": (0, 1)}
    arms = [dict(zip(factors, levels, strict=True)) for levels in product((0, 1), repeat=2)]
    covered = rejected = family = 0
    for _ in range(STUDIES):
        seeds = rng.normal(size=4)
        runs = [(arm, k, seeds[k] + 0.1 * arm["a"] + 0.1 * rng.normal()) for arm in arms for k in range(4)]
        a, b, both = effects(runs[1:], factors, interactions=True)  # one run failed
        covered += a.low <= 0.1 <= a.high
        rejected += b.p <= 0.05
        family += min(b.p_adjusted, both.p_adjusted) <= 0.05
    assert within(covered, 0.95)
    assert within(rejected, 0.05)
    assert family <= stats.binom.ppf(0.95, STUDIES, 0.05)
