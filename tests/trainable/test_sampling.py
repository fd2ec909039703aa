import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from trainable.suppression.config import (
    InverseFrequencySampling,
    PresentSampling,
    Sampling,
    SuppressionConfig,
    UniformSampling,
)
from trainable.suppression.sampling import class_weights, draw_class, inverse_frequency
from trainable.suppression.schedule import drop_probability, progress, suppressed_weight

STRATEGIES: list[Sampling] = [
    UniformSampling(name="uniform"),
    PresentSampling(name="present"),
    InverseFrequencySampling(name="inverse_frequency", tau=0.5),
]
PIXELS, PRESENT = (1000, 100, 0, 10), torch.tensor([True, True, False, True])
EXPECTED = {
    "uniform": [0.25, 0.25, 0.25, 0.25],
    "present": [1 / 3, 1 / 3, 0, 1 / 3],
    # rarest over pixels, square root: 0.1, sqrt(0.1), as the rarest, 1
    "inverse_frequency": [0.1 / 2.4162, 0.31623 / 2.4162, 1 / 2.4162, 1 / 2.4162],
}


@pytest.mark.parametrize("sampling", STRATEGIES, ids=lambda s: s.name)
def test_weights_are_a_distribution_and_draws_follow_it(sampling: Sampling) -> None:
    weights = class_weights(sampling, PIXELS, PRESENT)
    assert weights.tolist() == pytest.approx(EXPECTED[sampling.name], rel=1e-4)
    generator = torch.Generator().manual_seed(1)
    drawn = [draw_class(weights, 0.8, generator) for _ in range(20_000)]
    assert chisquare([drawn.count(None), 20_000 - drawn.count(None)], [4000, 16000]).pvalue > 1e-3
    counts = torch.tensor([drawn.count(c) for c in range(4)])
    assert all(counts[weights == 0] == 0)
    possible = weights > 0
    expected = weights[possible] * counts.sum()
    assert chisquare(counts[possible].numpy(), expected.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("sampling", STRATEGIES, ids=lambda s: s.name)
def test_draws_repeat_and_the_probability_only_decides_whether(sampling: Sampling) -> None:
    weights = class_weights(sampling, PIXELS, PRESENT)

    def draws(probability: float) -> list[int | None]:
        generator = torch.Generator().manual_seed(7)
        return [draw_class(weights, probability, generator) for _ in range(200)]

    assert draws(1.0) == draws(1.0)
    assert None not in draws(1.0)
    assert set(draws(0.0)) == {None}
    assert all(half in (None, full) for half, full in zip(draws(0.5), draws(1.0), strict=True))


def test_nothing_present_is_uniform() -> None:
    nothing = torch.zeros(4, dtype=torch.bool)
    assert class_weights(PresentSampling(name="present"), PIXELS, nothing).tolist() == [0.25] * 4


@given(st.lists(st.integers(0, 10**10), min_size=2, max_size=20), st.floats(1e-3, 10))
def test_inverse_frequency_is_always_finite(pixels: list[int], tau: float) -> None:
    weights = inverse_frequency(pixels, tau)
    assert torch.isfinite(weights).all()
    assert (weights >= 0).all()
    assert weights.max() == 1


def test_schedules() -> None:
    assert [progress(epoch, 4) for epoch in (1, 2, 3, 4)] == [0, 0.25, 0.5, 0.75]
    official = SuppressionConfig()
    assert (official.alpha, official.p_max, official.gate_norm, official.sampling.name) == (10, 1, "none", "uniform")
    assert [drop_probability(official, u) for u in (0, 0.25, 0.75)] == [0, 0.25, 0.75]
    assert [suppressed_weight(official, u) for u in (0, 0.25, 0.75)] == [0, 0.25, 0.75]
    constant = SuppressionConfig(schedule="constant", p_max=0.4, loss_ramp="constant")
    assert [drop_probability(constant, u) for u in (0, 0.9)] == [0.4, 0.4]
    assert [suppressed_weight(constant, u) for u in (0, 0.9)] == [0.5, 0.5]
    assert drop_probability(SuppressionConfig(p_max=0.4), 0.5) == 0.2
