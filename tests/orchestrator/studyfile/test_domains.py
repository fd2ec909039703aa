"""The domains themselves."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.studyfile import Choice, Float, Int


@pytest.mark.parametrize(
    ("build", "rule"),
    [
        (lambda: Float(1, 1), "low must be below high"),
        (lambda: Int(2, 1), "low must be below high"),
        (lambda: Float(0, 1, log=True), "low > 0"),
        (lambda: Int(0, 1, log=True), "low > 0"),
        (lambda: Float(1, 2, log=True, step=0.5), "no step"),
        (lambda: Int(1, 9, log=True, step=2), "no step"),
        (lambda: Int(1, 9, step=3), "must divide"),
        (lambda: Float(0, math.inf), "finite"),
        (lambda: Choice((), ()), "at least one"),
        (lambda: Choice((0, False), (0, False)), "twice"),
    ],
)
def test_invalid_domains_cannot_be_built(build, rule):
    with pytest.raises(ValueError, match=rule):
        build()


def test_a_grid_of_floats_is_written_in_decimals():
    assert list(Float(0, 1, step=0.1).values()) == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert Float(0, 1, step=0.1).snap(0.1 + 0.2) == 0.3
    assert Float(0, 1, step=0.1).contains(0.1 + 0.2)
    assert not Float(0, 1, step=0.1).contains(0.35)


def test_extreme_grids():
    assert Float(0, 1, step=1e-6).contains(1e-6)
    assert Float(-1e308, 1e308).center() == 0


def test_the_values_of_int_domains():
    assert list(Int(32, 128, step=32).values()) == [32, 64, 96, 128]
    assert Int(1, 9).contains(3.0)
    assert not Int(1, 9).contains(3.5)
    assert not Int(1, 9).contains(True)
    assert not Float(0, 2).contains("1")


@pytest.mark.parametrize(
    ("domain", "center"),
    [
        (Float(0, 1), 0.5),
        (Float(1e-4, 1e-2, log=True), 1e-3),
        (Float(0, 1, step=0.25), 0.5),
        (Int(1, 9), 5),
        (Int(1, 16, log=True), 4),
        (Int(32, 128, step=32), 96),
    ],
)
def test_centers(domain, center):
    assert domain.center() == pytest.approx(center)
    assert domain.contains(domain.center())


def test_an_unknown_label_names_the_known_ones():
    with pytest.raises(ValueError, match="3 is no option; one of 'a', None"):
        Choice(("a", None), ("a", None)).option(3)


@given(st.floats(-1e6, 1e6), st.integers(1, 1000), st.floats(0, 1))
def test_snapping_stays_in_the_domain(low, steps, where):
    domain = Float(low, low + steps, log=False)
    assert domain.contains(domain.snap(low + where * steps))
    assert Int(-3, -3 + 7 * steps, step=7).contains(Int(-3, -3 + 7 * steps, step=7).snap(where * 7 * steps))
