"""Predicted power against closed forms, enumeration and its own inverse; simulated studies are in test_simulation."""

import math

import pytest
from scipy.stats import norm
from statsmodels.stats.power import TTestPower

from orchestrator.report.statistics.power import SIMULATED_PAIRS, detectable_effect, power
from orchestrator.report.statistics.sign_flip import seeds_needed, smallest_p


@pytest.mark.parametrize("n", [3, 6, 8, 11])
@pytest.mark.parametrize("effect", [0.0, 0.5, 1.0, 2.0])
def test_at_the_smallest_p_all_differences_have_one_sign(n: int, effect: float) -> None:
    exact = norm.cdf(effect) ** n + norm.cdf(-effect) ** n
    assert power(n, effect, alpha=smallest_p(n)) == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("n", [6, 8, 10, 14, 30])
@pytest.mark.parametrize("comparisons", [1, 3])
def test_without_an_effect_power_is_the_attainable_level(n: int, comparisons: int) -> None:
    step = smallest_p(n)
    level = math.floor(0.05 / comparisons / step) * step
    assert power(n, 0.0, comparisons) == pytest.approx(level, abs=0.006)


@pytest.mark.parametrize("effect", [0.1, 0.3, 0.6])
def test_with_many_pairs_it_is_the_power_of_the_t_test(effect: float) -> None:
    assert power(100, effect) == pytest.approx(TTestPower().power(effect, 100, 0.05), abs=1e-6)


@pytest.mark.parametrize("comparisons", [1, 2])
def test_the_two_ways_to_predict_meet(comparisons: int) -> None:
    simulated, looked_up = (power(n, 0.8, comparisons) for n in (SIMULATED_PAIRS, SIMULATED_PAIRS + 1))
    assert 0 < looked_up - simulated < 0.1  # one pair more
    direct = TTestPower().power(0.8, SIMULATED_PAIRS, 0.05 / comparisons)
    assert simulated == pytest.approx(direct, abs=0.03)


@pytest.mark.parametrize("n", [8, 20])
def test_power_grows_with_the_effect_and_knows_no_direction(n: int) -> None:
    powers = [power(n, effect, 3) for effect in (0, 0.3, 0.6, 1, 1.5, 2.5, 5)]
    assert powers == sorted(powers)
    assert powers[-1] > 0.999
    assert power(n, -1.0) == pytest.approx(power(n, 1.0), abs=0.01)


def test_power_falls_with_the_number_of_arms_and_grows_with_seeds() -> None:
    assert power(10, 1.0, 1) > power(10, 1.0, 3) > power(10, 1.0, 6)
    assert power(8, 1.0, 3) < power(10, 1.0, 3) < power(12, 1.0, 3) < power(16, 1.0, 3) < power(40, 1.0, 3)


@pytest.mark.parametrize("comparisons", [1, 4, 6])
def test_with_too_few_seeds_nothing_can_be_found(comparisons: int) -> None:
    n = seeds_needed(comparisons)
    assert power(n - 1, 100.0, comparisons) == 0
    assert detectable_effect(n - 1, comparisons) is None
    assert power(n, 100.0, comparisons) == 1
    assert detectable_effect(n, comparisons) is not None


@pytest.mark.parametrize("n", [0, 1])
def test_no_seeds_no_power(n: int) -> None:
    assert power(n, 1.0) == 0
    assert detectable_effect(n) is None


@pytest.mark.parametrize(
    ("n", "comparisons", "wanted"), [(8, 1, 0.8), (8, 6, 0.5), (10, 4, 0.8), (20, 5, 0.9), (5000, 1, 0.8)]
)
def test_the_detectable_effect_is_found_with_the_power_asked_for(n: int, comparisons: int, wanted: float) -> None:
    effect = detectable_effect(n, comparisons, power=wanted)
    assert effect is not None
    assert power(n, effect, comparisons) == pytest.approx(wanted, abs=0.01)


def test_six_seeds_find_only_what_no_seed_contradicts() -> None:
    effect = detectable_effect(6)
    assert effect is not None
    assert norm.cdf(effect) ** 6 == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(("comparisons", "alpha"), [(0, 0.05), (1, 0.0), (1, 1.5)])
def test_nonsense_is_refused(comparisons: int, alpha: float) -> None:
    with pytest.raises(ValueError, match="comparisons"):
        power(8, 1.0, comparisons, alpha)


@pytest.mark.parametrize("wanted", [0.05, 0.0, 1.0, 80.0])
def test_a_power_that_cannot_be_is_refused(wanted: float) -> None:
    with pytest.raises(ValueError, match="power"):
        detectable_effect(8, power=wanted)
