"""Effects against means by hand and statsmodels' formulas; what cannot be told apart stays out."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyDOE3 import fracfact
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests

from orchestrator.report.statistics.effects import Effect, Row, effects

TWO = {"a": (0, 1), "b": ("x", "y")}
MIXED = {"a": (0, 1), "b": ("x", "y"), "c": (1, 2, 3)}
FOUR = dict.fromkeys("abcd", (-1, 1))


def cells(factors: Mapping[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [dict(zip(factors, levels, strict=True)) for levels in product(*factors.values())]


def rows(
    arms: Sequence[Mapping[str, Any]],
    value: Callable[[Mapping[str, Any]], float] = lambda _: 0.0,
    blocks: int = 4,
    noise: float = 0.01,
    seed: int = 0,
) -> list[Row]:
    rng = np.random.default_rng(seed)
    return [(arm, k, value(arm) + 0.3 * k + noise * rng.normal()) for arm in arms for k in range(blocks)]


def mean(found: Sequence[Row], **levels: Any) -> float:
    return float(np.mean([v for arm, _, v in found if all(arm[f] == level for f, level in levels.items())]))


def by_name(found: Sequence[Effect]) -> dict[str, Effect]:
    return {effect.name: effect for effect in found}


def fitted(found: Sequence[Row], formula: str) -> Any:
    frame = pd.DataFrame([{**arm, "block": k, "y": v} for arm, k, v in found])
    return ols(formula, frame).fit()


# against references


def test_a_full_factorial_gives_differences_of_means() -> None:
    runs = rows(cells(TWO), lambda arm: 0.1 * arm["a"] + 0.2 * (arm["b"] == "y") * arm["a"])
    found = by_name(effects(runs, TWO, interactions=True))
    assert list(found) == ["a", "b", "a:b"]
    assert found["a"].estimate == pytest.approx(mean(runs, a=1) - mean(runs, a=0))
    assert found["b"].estimate == pytest.approx(mean(runs, b="y") - mean(runs, b="x"))
    of_a = [mean(runs, a=1, b=b) - mean(runs, a=0, b=b) for b in "xy"]
    assert found["a:b"].estimate == pytest.approx((of_a[1] - of_a[0]) / 2)
    assert (found["a"].levels, found["b"].levels, found["a:b"].levels) == ((0, 1), ("x", "y"), ())
    assert {(e.df, e.n) for e in found.values()} == {(16 - 4 - 3, 16)}


def test_the_sign_follows_the_order_of_the_levels() -> None:
    runs = rows(cells(TWO), lambda arm: 0.1 * arm["a"])
    [up], [down] = (effects(runs, {"a": levels}, interactions=False) for levels in ((0, 1), (1, 0)))
    assert (down.levels, down.estimate, down.low, down.high) == ((1, 0), -up.estimate, -up.high, -up.low)
    assert down.p == pytest.approx(up.p)


@pytest.mark.parametrize("lost", [0, 1, 5])
def test_intervals_and_p_are_those_of_statsmodels_formulas(lost: int) -> None:
    runs = rows(cells(MIXED), lambda arm: 0.01 * arm["a"] + 0.004 * arm["c"] * (arm["b"] == "y"))[lost:]
    found = by_name(effects(runs, MIXED, interactions=True))
    formula = "y ~ C(block, Sum) + (C(a, Sum) + C(b, Sum) + C(c, Sum))**2"
    fit = fitted(runs, formula)
    table = anova_lm(fit, typ=3)
    for name, effect in found.items():
        term = ":".join(f"C({factor}, Sum)" for factor in name.split(":"))
        assert effect.p == pytest.approx(table.loc[term, "PR(>F)"], rel=1e-6)
        assert effect.df == fit.df_resid
    a = found["a"]
    low, high = fit.conf_int().loc["C(a, Sum)[S.0]"]  # half the first level minus the second
    assert (a.low, a.high) == pytest.approx((-2 * high, -2 * low))
    assert [found["c"].estimate, found["c"].low, found["a:c"].estimate] == [None, None, None]
    assert found["c"].levels == (1, 2, 3)
    ps = [effect.p for effect in found.values()]
    assert [effect.p_adjusted for effect in found.values()] == pytest.approx(multipletests(ps, method="holm")[1])


def test_a_main_effect_with_lost_runs_is_that_of_least_squares() -> None:
    runs = rows(cells(TWO), lambda arm: 0.1 * arm["a"])[3:]
    [a, _] = effects(runs, TWO, interactions=False)
    fit = fitted(runs, "y ~ C(block) + C(a) + C(b)")
    assert a.estimate == pytest.approx(fit.params["C(a)[T.1]"])
    assert a.p == pytest.approx(fit.pvalues["C(a)[T.1]"])
    assert (a.low, a.high) == pytest.approx(tuple(fit.conf_int().loc["C(a)[T.1]"]))


@given(st.lists(st.floats(-10, 10), min_size=4, max_size=4))
def test_what_a_seed_adds_to_all_arms_does_not_matter(offsets: list[float]) -> None:
    runs = rows(cells(TWO), lambda arm: 0.01 * arm["a"])[1:]
    shifted = [(arm, k, v + offsets[k]) for arm, k, v in runs]
    for before, after in zip(*(effects(r, TWO, interactions=True) for r in (runs, shifted)), strict=True):
        assert after.estimate == pytest.approx(before.estimate, abs=1e-9)
        assert after.p == pytest.approx(before.p, rel=1e-4)


@given(st.permutations(range(16)))
def test_the_order_of_runs_does_not_matter(order: list[int]) -> None:
    runs = rows(cells(TWO), lambda arm: 0.01 * arm["a"])
    for before, after in zip(
        *(effects(r, TWO, interactions=True) for r in (runs, [runs[i] for i in order])), strict=True
    ):
        assert after.estimate == pytest.approx(before.estimate)
        assert after.p == pytest.approx(before.p)


# what cannot be told apart


def fraction(generators: str) -> list[dict[str, Any]]:
    return [{f: int(x) for f, x in zip("abcd", row, strict=False)} for row in fracfact(generators)]


def test_resolution_3_gives_main_effects_alone() -> None:
    factors = dict.fromkeys("abc", (-1, 1))
    runs = rows(fraction("a b ab"), lambda arm: 0.1 * arm["a"] + 0.05 * arm["c"])
    found = by_name(effects(runs, factors, interactions=True))
    assert list(found) == ["a", "b", "c"]
    assert [e.estimate for e in found.values()] == pytest.approx([0.2, 0.0, 0.1], abs=0.02)


def test_resolution_4_leaves_out_interactions_aliased_with_each_other() -> None:
    arms = fraction("a b c abc")  # ab = cd, ac = bd, ad = bc
    runs = rows(arms, lambda arm: 0.1 * arm["a"] + 0.3 * arm["a"] * arm["b"])
    found = by_name(effects(runs, FOUR, interactions=True))
    assert list(found) == ["a", "b", "c", "d"]
    assert found["a"].estimate == pytest.approx(0.2, abs=0.02)
    assert found["a"].df == 32 - 4 - 4 - 3
    assert found["a"].high - found["a"].low < 0.03  # what ab or cd explains is no noise


def test_an_interaction_clear_of_the_aliased_ones_is_reported() -> None:
    factors = dict.fromkeys("abcde", (-1, 1))
    arms = [{f: int(x) for f, x in zip("abcde", row, strict=True)} for row in fracfact("a b c abc d")]
    found = by_name(effects(rows(arms), factors, interactions=True))
    assert list(found) == [*"abcde", "a:e", "b:e", "c:e", "d:e"]


def test_an_empty_cell_takes_the_interaction_with_it() -> None:
    runs = [row for row in rows(cells(TWO), lambda arm: 0.1 * arm["a"]) if row[0] != {"a": 1, "b": "y"}]
    found = by_name(effects(runs, TWO, interactions=True))
    assert list(found) == ["a", "b"]
    assert found["a"].estimate == pytest.approx(0.1, abs=0.02)


def test_factors_that_changed_together_are_both_left_out() -> None:
    factors = {**TWO, "c": (5, 6)}
    arms = [{**arm, "c": 5 + arm["a"]} for arm in cells(TWO)]
    assert list(by_name(effects(rows(arms), factors, interactions=True))) == ["b"]


def test_a_factor_that_changed_with_the_block_is_left_out() -> None:
    runs = [({"a": k % 2, "b": b}, k, 0.1 * k) for k in range(4) for b in "xy"]
    assert list(by_name(effects(runs, TWO, interactions=False))) == ["b"]


@given(st.sets(st.integers(0, 15), min_size=2), st.booleans())
def test_whatever_is_reported_is_the_truth(kept: set[int], interactions: bool) -> None:
    """Any part of a 2^4 design; without noise, a reported effect is the one that made the values."""
    truth = {name: 0.1 * (i + 1) for i, name in enumerate("abcd")}
    if interactions:
        truth |= {f"{a}:{b}": 0.03 * (i + 1) for i, (a, b) in enumerate(combinations("abcd", 2))}
    arms = [cells(FOUR)[i] for i in sorted(kept)]

    def matrix(names: Sequence[str]) -> np.ndarray:
        return np.array([[1, *(math.prod(arm[f] for f in name.split(":")) for name in names)] for arm in arms])

    def clear(name: str, names: Sequence[str]) -> bool:
        others = [other for other in names if other != name]
        return bool(np.linalg.matrix_rank(matrix(names)) > np.linalg.matrix_rank(matrix(others)))

    mains = [name for name in "abcd" if clear(name, "abcd")]
    if any(
        not clear(name, list(truth)) for name in mains
    ):  # aliased interactions are taken for zero, so make them zero
        truth = {name: x if len(name) == 1 or clear(name, list(truth)) else 0.0 for name, x in truth.items()}
    runs = rows(
        arms, lambda arm: sum(x / 2 * math.prod(arm[f] for f in name.split(":")) for name, x in truth.items()), noise=0
    )
    found = by_name(effects(runs, FOUR, interactions=interactions))
    pairs = [name for name in truth if len(name) > 1 and clear(name, list(truth))]
    assert list(found) == mains + pairs
    for name, effect in found.items():
        assert effect.estimate == pytest.approx(truth[name], abs=1e-9)


# edges


def test_a_level_without_runs_is_left_out_of_the_comparison() -> None:
    runs = [row for row in rows(cells(MIXED), lambda arm: 0.1 * arm["c"]) if row[0]["c"] != 2]
    c = by_name(effects(runs, MIXED, interactions=False))["c"]
    assert c.levels == (1, 3)
    assert c.estimate == pytest.approx(0.2, abs=0.02)


def test_a_factor_that_never_changed_has_no_effect_to_report() -> None:
    runs = [row for row in rows(cells(TWO)) if row[0]["a"] == 0]
    assert list(by_name(effects(runs, TWO, interactions=True))) == ["b"]


def test_levels_may_be_lists_and_null() -> None:
    factors = {"suppression.layer": ("decoder", ["encoder.4", "decoder"]), "suppression.gate": (None, {"q": 0.3})}
    runs = rows(cells(factors), lambda arm: 0.1 * (arm["suppression.layer"] != "decoder"))
    found = by_name(effects(runs, factors, interactions=True))
    assert list(found) == ["suppression.layer", "suppression.gate", "suppression.layer:suppression.gate"]
    assert found["suppression.layer"].estimate == pytest.approx(0.1, abs=0.02)
    assert found["suppression.gate"].levels == (None, {"q": 0.3})


def test_values_that_are_no_numbers_are_left_out() -> None:
    runs = rows(cells(TWO))
    bad = [(runs[0][0], 0, math.nan), (runs[5][0], 1, math.inf)]
    assert effects([*runs[1:], *bad], TWO, interactions=True) == effects(runs[1:], TWO, interactions=True)


def test_a_saturated_fit_has_estimates_and_no_judgement() -> None:
    found = effects(rows(cells(TWO), lambda arm: 0.1 * arm["a"], blocks=1, noise=0), TWO, interactions=True)
    assert [e.estimate for e in found] == pytest.approx([0.1, 0.0, 0.0])
    assert {(e.low, e.high, e.p, e.p_adjusted, e.df) for e in found} == {(None, None, None, None, 0)}


def test_values_without_noise_have_estimates_and_no_judgement() -> None:
    found = effects(rows(cells(TWO), lambda arm: 0.1 * arm["a"], noise=0), TWO, interactions=False)
    assert [e.estimate for e in found] == pytest.approx([0.1, 0.0])
    assert {(e.low, e.high, e.p, e.p_adjusted) for e in found} == {(None, None, None, None)}


@pytest.mark.parametrize("runs", [[], [({"a": 0, "b": "x"}, 0, 0.5)], [({"a": 0, "b": "x"}, 0, math.nan)]])
def test_too_few_runs_have_no_effects(runs: list[Row]) -> None:
    assert effects(runs, TWO, interactions=True) == []


@pytest.mark.parametrize("arm", [{"a": 7, "b": "x"}, {"b": "x"}])
def test_a_run_outside_the_factors_is_refused(arm: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"a: .* levels 0, 1"):
        effects([*rows(cells(TWO)), (arm, 0, 0.5)], TWO, interactions=True)
