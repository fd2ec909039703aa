"""How likely the sign-flip test finds an effect, before a run is spent on it.

Effects are standardised: mean over standard deviation of the paired differences (Cohen's d_z), taken as normal. With
several arms the threshold is Holm's strictest step, alpha / comparisons: the power of an arm that has to pass first, a
lower bound for the others.

The test has only the levels k / 2**(n-1). With few pairs its power is well below that of the t test at the same level
(n = 8, one pattern in the critical region, effect 1.8: 0.74 against 0.86), so up to `SIMULATED_PAIRS` pairs the test
itself is run on quasi-random normal differences. Above, the t test's power at the attainable level stands in
(statsmodels); it is within 0.03 of the sign-flip test's where the critical region holds 20 patterns or more.
"""

import math
from functools import lru_cache

import numpy as np

from orchestrator.report.statistics.sign_flip import Floats, exact_sign_flip, smallest_p, strictest_step

SIMULATED_PAIRS = 12
SIMULATED_STUDIES = 4096
"""A power of 2, as Sobol points want; predictions repeat to 0.01."""


def power(n: int, effect: float, comparisons: int = 1, alpha: float = 0.05) -> float:
    """Chance that the sign-flip test of n pairs rejects, given a standardised effect.

    Args:
        n: number of pairs.
        effect: mean / standard deviation of the differences; its sign does not matter.
        comparisons: as of `strictest_step`, errors too.
        alpha: as there.

    Returns:
        Between 0 and 1; 0 where no p can be small enough.
    """
    return _rejected(n, abs(effect), strictest_step(comparisons, alpha))


def detectable_effect(n: int, comparisons: int = 1, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """Smallest standardised effect that the test finds with the given power.

    Args:
        n: number of pairs.
        comparisons: as of `strictest_step`, errors too.
        alpha: as there.
        power: wanted chance of finding it, between alpha and 1.

    Returns:
        In standard deviations of the differences; None where no effect can be found: underpowered.

    Raises:
        ValueError: power outside (alpha, 1).
    """
    if not alpha < power < 1:
        raise ValueError(f"power: {power} lies outside ({alpha}, 1); 0.8 is usual")
    threshold = strictest_step(comparisons, alpha)
    if smallest_p(n) > threshold:
        return None

    def excess(effect: float) -> float:
        return _rejected(n, effect, threshold) - power

    from scipy.optimize import brentq  # late, as statsmodels below: only few studies ask, and they take a second

    high = 0.25
    while excess(high) < 0:
        high *= 2
    return float(brentq(excess, 0.0, high, xtol=1e-4))


def _rejected(n: int, effect: float, threshold: float) -> float:
    if smallest_p(n) > threshold:
        return 0.0
    if n <= SIMULATED_PAIRS:
        return float(np.mean(_simulated_p(n, effect) <= threshold))
    return _t_power(n, effect, _attainable(n, threshold))


def _simulated_p(n: int, effect: float) -> Floats:
    studies = _noise(n) + effect
    few_at_once = np.array_split(studies, 2 ** max(0, n - 4))  # their sums fit the processor's cache
    return np.concatenate([exact_sign_flip(few) for few in few_at_once])


@lru_cache(maxsize=SIMULATED_PAIRS)
def _noise(n: int) -> Floats:
    from scipy import stats

    noise: Floats = stats.qmc.MultivariateNormalQMC(np.zeros(n), rng=np.random.default_rng(0)).random(SIMULATED_STUDIES)
    return noise


def _attainable(n: int, threshold: float) -> float:
    """Largest level of the test that is not above the threshold."""
    if n > 50:
        return threshold  # levels lie closer than doubles
    return math.floor(threshold * 2.0 ** (n - 1)) / 2.0 ** (n - 1)


def _t_power(n: int, effect: float, level: float) -> float:
    from statsmodels.stats.power import TTestPower

    test = TTestPower()
    right = float(test.power(effect, n, level / 2, alternative="larger"))
    wrong = float(test.power(effect, n, level / 2, alternative="smaller"))
    # scipy's noncentral t is nan far out in its tails: the effect cannot be missed, or not be taken for its opposite
    return (1.0 if math.isnan(right) else right) + (0.0 if math.isnan(wrong) else wrong)
