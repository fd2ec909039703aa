"""Looks: the exact recursion against a slow reference, its control of error pattern by pattern, and its limits."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import norm
from statsmodels.stats.multitest import multipletests

from orchestrator.report.statistics.alpha_spending import Spending, level_to_spend, spent
from orchestrator.report.statistics.expected_runs import course, drawn, expected_runs
from orchestrator.report.statistics.group_sequential import GroupSequential, chance_at_last, holm, replay
from orchestrator.report.statistics.looks import SequentialTest
from orchestrator.report.statistics.sign_flip import sign_flip
from orchestrator.store.looks import Looks

ALPHA = 0.05
SPENDINGS: tuple[Spending, ...] = ("pocock", "obrien_fleming")
RULE = Looks((6, 8, 12, 16), "pocock", 0.1, ALPHA)


def spend(spending: Spending, time: float, level: float) -> float:
    if spending == "pocock":
        return level * math.log(1 + (math.e - 1) * time)
    return float(2 - 2 * norm.cdf(norm.ppf(1 - level / 2) / math.sqrt(time)))


def slow_levels(differences: Sequence[float], looks: Sequence[int], spending: Spending) -> list[float]:
    """Sequential p after each look, from the definition: every pattern in a dictionary, every level tried on a grid.

    A pattern crosses at a level if, for every level of the grid from there to alpha, those that crossed before and
    those at least as far from zero are no larger a share than the level has to spend. Levels above alpha are 1.
    """
    grid = np.unique(np.concatenate([np.linspace(1e-5, ALPHA, 600), [ALPHA]]))
    needed: dict[tuple[int, ...], float] = {(): math.inf}
    own = []
    for look in looks:
        patterns = list(itertools.product((1, -1), repeat=look))
        size = {p: abs(sum(s * d for s, d in zip(p, differences, strict=False))) for p in patterns}
        before = {p: min(level for start, level in needed.items() if p[: len(start)] == start) for p in patterns}
        now = {}
        for pattern in patterns:
            as_far = {p for p in patterns if size[p] >= size[pattern] - 1e-9}
            level = math.inf
            for candidate in grid[::-1]:
                crossed = sum(p in as_far or before[p] <= candidate for p in patterns) / len(patterns)
                if crossed > spend(spending, look / looks[-1], candidate) + 1e-12:
                    break
                level = candidate
            now[pattern] = min(before[pattern], level)
        needed = now
        own.append(needed[(1,) * look])
    return own


def levels(differences: Sequence[float], looks: Sequence[int], spending: Spending = "pocock") -> list[float]:
    test, before, found = SequentialTest(looks, spending, ALPHA), 0, []
    for look in looks:
        found.append(test.look(differences[before:look]).sequential_p)
        before = look
    return found


@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("looks", [(6, 7), (5, 6, 7)])
def test_it_agrees_with_the_definition(spending: Spending, looks: Sequence[int]) -> None:
    rng = np.random.default_rng(3)
    for shift in (0.6, 1.2, 2.0):
        differences = rng.normal(shift, 1, looks[-1]).round(2).tolist()
        for fast, slow in zip(
            levels(differences, looks, spending), slow_levels(differences, looks, spending), strict=True
        ):
            if slow > ALPHA:
                assert fast > ALPHA
            else:
                assert slow - 2e-4 <= fast <= slow + 1e-9, "the slow one knows levels of its grid only"


@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("values", ["normal", "heavy", "ties"])
def test_no_level_is_exceeded_over_all_patterns_and_most_of_it_is_used(spending: Spending, values: str) -> None:
    rng, looks = np.random.default_rng(5), (6, 7, 8, 10)
    sizes = {"normal": rng.normal(size=10), "heavy": rng.standard_cauchy(10), "ties": rng.integers(1, 4, 10)}[values]
    patterns = np.array(list(itertools.product((1.0,), *[(1.0, -1.0)] * 9)))
    final = np.array([levels((pattern * sizes).tolist(), looks, spending) for pattern in patterns])
    assert (np.diff(final, axis=1) <= 0).all(), "a level once crossed stays crossed"
    for level in (0.005, 0.01, 0.0125, 0.025, 0.05):
        for look, seeds in enumerate(looks):
            assert np.mean(final[:, look] <= level) <= spend(spending, seeds / 10, level) + 1e-12
    if values == "normal":
        assert np.mean(final[:, -1] <= ALPHA) > 0.045


@pytest.mark.parametrize("pairs", [2, 5, 9, 13])
@pytest.mark.parametrize("spending", SPENDINGS)
def test_one_look_is_the_fixed_test(pairs: int, spending: Spending) -> None:
    rng = np.random.default_rng(pairs)
    for differences in (rng.normal(0.4, 1, pairs), rng.integers(-2, 4, pairs).astype(float), np.zeros(pairs)):
        look = SequentialTest([pairs], spending, ALPHA).look(differences)
        assert look.sequential_p == pytest.approx(sign_flip(differences), abs=1e-12)
        assert look.p == pytest.approx(look.sequential_p)


def test_units_and_direction_change_nothing() -> None:
    differences = np.random.default_rng(1).normal(0.7, 1, 12)
    expected = levels(differences.tolist(), (6, 8, 12))
    assert levels((-1e-6 * differences).tolist(), (6, 8, 12)) == pytest.approx(expected)
    assert levels((1e6 * differences).tolist(), (6, 8, 12)) == pytest.approx(expected)


def test_the_boundary_is_the_largest_p_that_crosses() -> None:
    rng, crossed = np.random.default_rng(2), set()
    for shift in np.linspace(0, 1.5, 60):
        test, differences = SequentialTest((6, 8, 12), "pocock", ALPHA), rng.normal(shift, 1, 12)
        for start, stop in ((0, 6), (6, 8), (8, 12)):
            before, look = crossed, test.look(differences[start:stop])
            boundary = look.boundary(ALPHA)
            crosses = boundary is not None and look.p <= boundary + 1e-12
            assert not crosses or look.sequential_p <= ALPHA
            crossed = before | {(stop, look.sequential_p <= ALPHA)}
    assert {(6, False), (8, True), (12, True), (12, False)} <= crossed


def test_looks_without_new_pairs_and_without_any() -> None:
    test = SequentialTest((6, 8, 10), "pocock", ALPHA)
    assert test.look([]).sequential_p == 1
    assert test.look([0.1] * 7).p == pytest.approx(2.0**-6)
    before = test.look([])
    assert before.pairs == 7
    assert before.sequential_p <= 2.0**-6 + 1e-12
    with pytest.raises(ValueError, match="look 4 of 3"):
        test.look([])
    with pytest.raises(ValueError, match="nan"):
        SequentialTest((6, 8), "pocock", ALPHA).look([math.nan])


def test_more_pairs_are_drawn_the_same_each_time_and_keep_the_level() -> None:
    looks = (8, 16, 24)
    strong = np.random.default_rng(0).normal(1.2, 1, 24).tolist()
    assert levels(strong, looks) == levels(strong, looks)
    assert levels(strong, looks)[-1] < 0.001
    assert levels(strong, (8, 16, 24))[0] == pytest.approx(levels(strong[:16], (8, 16))[0] * 1.33, rel=0.3)


@pytest.mark.parametrize("spending", SPENDINGS)
def test_spending_ends_at_the_level_grows_and_turns_round(spending: Spending) -> None:
    times, grid = (0.1, 0.375, 0.5, 0.75, 1.0), np.array([0.001, 0.01, 0.05, 0.3, 1.0])
    amounts = np.array([spent(spending, time, grid) for time in times])
    assert amounts[-1] == pytest.approx(grid)
    assert (np.diff(amounts, axis=0)[:, :-1] > 0).all()
    assert (np.diff(amounts, axis=1) > 0).all()
    for time, amount in zip(times, amounts, strict=True):
        assert amount == pytest.approx([spend(spending, time, level) for level in grid])
        assert level_to_spend(spending, time, amount) == pytest.approx(grid)


def test_holm_is_statsmodels() -> None:
    for p in ([0.01, 0.04, 0.03], [0.5, 0.001, 0.001, 1.0], [0.2]):
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert holm([0.01, 0.04], family=5) == pytest.approx([0.05, 0.16])
    assert holm([]) == []


def test_the_chance_is_conditional_power_under_the_trend() -> None:
    rng, z, time = np.random.default_rng(0), 1.4, 0.5
    drift, rest = z / math.sqrt(time), 1 - time
    last = z * math.sqrt(time) + drift * rest + rng.normal(0, math.sqrt(rest), 200_000)
    assert chance_at_last(z, time, ALPHA) == pytest.approx(np.mean(last > norm.ppf(0.975)), abs=0.005)
    assert chance_at_last(-z, time, ALPHA) == chance_at_last(z, time, ALPHA)


def test_over_arms_it_is_the_closed_test() -> None:
    """Every intersection is tested by Bonferroni's method at its own level, look by look."""
    rng = np.random.default_rng(11)
    for _ in range(12):
        differences = drawn(rng, 3, 16, 0.0) + np.array([[1.3], [0.8], [0.0]])
        taken = course(replace_futility(None), differences)
        p = {arm: one.sequential_p for arm, one in taken.shown.items()}
        for arm in p:
            families = [f for size in (1, 2, 3) for f in itertools.combinations(p, size) if arm in f]
            closed = all(min(p[other] for other in family) <= ALPHA / len(family) for family in families)
            assert (taken.shown[arm].adjusted_p <= ALPHA) == closed


def replace_futility(futility: float | None) -> Looks:
    return Looks(RULE.seeds, RULE.spending, futility, RULE.alpha)


def test_the_order_of_arms_changes_nothing() -> None:
    differences = drawn(np.random.default_rng(4), 4, 16, 0.7)
    there, back = course(RULE, differences), course(RULE, differences[::-1])
    assert [there.shown[str(arm)] for arm in range(4)] == [back.shown[str(3 - arm)] for arm in range(4)]


def test_futility_enters_no_boundary() -> None:
    differences = drawn(np.random.default_rng(6), 3, 16, 0.4)
    with_it, without = course(RULE, differences), course(replace_futility(None), differences)
    assert any(look.names("futile") for look in with_it.taken)
    for one, other in zip(with_it.taken, without.taken, strict=False):
        for arm in one.arms.keys() & other.arms.keys():
            assert (one.arms[arm].p, one.arms[arm].sequential_p) == (other.arms[arm].p, other.arms[arm].sequential_p)


def test_an_arm_that_stopped_keeps_its_place_in_the_family() -> None:
    taken = course(RULE, np.vstack([np.tile([1.0, -1.0], 8), np.linspace(1.0, 2.0, 16)]))
    assert taken.taken[0].names("futile") == ["0"]
    last = taken.taken[-1].arms["1"]
    assert last.adjusted_p == pytest.approx(min(1.0, 2 * last.sequential_p))


def test_a_replay_stops_before_the_first_look_that_lacks_a_run() -> None:
    values = {arm: np.random.default_rng(arm).normal(arm, 1, 16) for arm in (0, 1, 2)}

    def outcome(arm: str, block: int) -> float | None:
        return None if (arm, block) == ("2", 7) else float(values[int(arm)][block])

    taken = replay(RULE, ["1", "2"], "0", outcome, greater_is_better=True)
    assert len(taken.taken) == 1
    assert (taken.blocks("1"), taken.blocks("2")) == (8, 8)


def test_a_comparison_without_arms_is_over() -> None:
    assert GroupSequential(RULE, [], greater_is_better=True).over


def test_expected_runs_repeat_and_lie_between_the_bounds() -> None:
    without, strong = expected_runs(RULE, 3, 0.0), expected_runs(RULE, 3, 2.0)
    assert expected_runs.__wrapped__(RULE, 3, 0.0) == without
    assert 4 * 6 <= without.runs < 0.6 * 4 * 16
    assert 4 * 8 <= strong.runs < 4 * 16
    assert without.shown < 0.05 < 0.95 < strong.shown
    never = expected_runs(replace_futility(None), 2, 0.0)
    assert never.runs > 0.95 * 3 * 16
