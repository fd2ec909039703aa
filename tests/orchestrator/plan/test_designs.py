"""Designs of an ablation: counts, balance, aliases and paths, for any factors."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.plan.designs import (
    BASELINE,
    aliases,
    baseline,
    factorial,
    fractional,
    generators,
    labels,
    leave_one_out,
    one_at_a_time,
    walk,
    walk_length,
)

LEVEL = st.one_of(st.integers(-3, 3), st.text("ab", max_size=2), st.just(None), st.booleans(), st.just({"name": "x"}))
PATH = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(".".join)


def unlike(level):
    return json.dumps(level)


def factors(most=4):
    levels = st.lists(LEVEL, min_size=2, max_size=4, unique_by=unlike).map(tuple)
    return st.dictionaries(PATH, levels, min_size=1, max_size=most)


TWO_LEVELS = st.integers(3, 9).map(lambda n: {f"section.{letter}": ("low", "high") for letter in "abcdefghi"[:n]})


@given(factors())
def test_one_at_a_time_changes_one_factor_in_every_arm_but_the_baseline(found):
    for design in (leave_one_out, one_at_a_time):
        arms = design(found)
        assert len(arms) == 1 + sum(len(levels) - 1 for levels in found.values())
        assert (arms[0].name, arms[0].levels) == (BASELINE, baseline(found))
        changed = [[path for path in found if unlike(arm.levels[path]) != unlike(found[path][0])] for arm in arms[1:]]
        assert changed == [[path] for path, levels in found.items() for _ in levels[1:]]


@given(factors(3))
def test_a_factorial_holds_every_combination_once_the_baseline_first(found):
    arms = factorial(found)
    combinations = {json.dumps(dict(arm.levels)) for arm in arms}
    assert len(arms) == len(combinations) == math.prod(map(len, found.values()))
    assert arms[0].levels == baseline(found)
    for path, levels in found.items():
        shares = [sum(unlike(arm.levels[path]) == unlike(level) for arm in arms) for level in levels]
        assert len(set(shares)) == 1, "balanced"


@settings(deadline=None)  # the first call imports scipy
@given(TWO_LEVELS, st.sampled_from([3, 4, 5]))
def test_a_fraction_is_balanced_orthogonal_and_of_its_resolution(found, resolution):
    if len(found) < resolution:
        with pytest.raises(ValueError, match="no fraction"):
            fractional(found, resolution)
        return
    arms, lines = fractional(found, resolution)
    signs = np.array([[1 if arm.levels[path] == "high" else -1 for path in found] for arm in arms])
    runs, columns = signs.shape
    assert runs < 2**columns
    assert runs & (runs - 1) == 0
    assert len({tuple(row) for row in signs}) == runs
    assert arms[0].name == BASELINE
    assert (signs[0] == -1).all()
    for size in range(1, resolution):
        for word in itertools.combinations(range(columns), size):
            assert signs[:, list(word)].prod(axis=1).sum() == 0, "no word of the defining relation is so short"
    effects = [effect for line in lines for effect in line.split(" = ")]
    mains = [effect for effect in effects if " x " not in effect]
    assert (resolution > 3) <= (mains == [])
    assert (resolution > 4) <= (lines == ())


TABLE = [(3, 3, 4), (4, 4, 8), (5, 3, 8), (5, 5, 16), (6, 4, 16), (7, 3, 8), (7, 4, 16), (7, 5, 64), (8, 4, 16)]


@pytest.mark.parametrize(("count", "resolution", "runs"), TABLE)
def test_fractions_are_as_small_as_the_tables_say(count, resolution, runs):
    """Box, Hunter, Hunter, table 12.15."""
    arms, _ = fractional({f"f.{letter}": (0, 1) for letter in "abcdefgh"[:count]}, resolution)
    assert len(arms) == runs


def test_aliases_name_the_factors():
    assert generators(3, 3) == ["a", "b", "ab"]
    assert aliases(["a", "b", "ab"], ["alpha", "layer", "p_max"]) == (
        "alpha = layer x p_max",
        "layer = alpha x p_max",
        "p_max = alpha x layer",
    )


SCORES = st.dictionaries(st.tuples(*[st.booleans()] * 3), st.integers(0, 50), min_size=8, max_size=8)


def greedy(scores, count):
    """The path by brute force over all of the 2^n points, with the last factor that leaves the tie to the first."""
    here = (False,) * count
    way = [here]
    while not all(here):
        near = [
            tuple(done or index == flip for index, done in enumerate(here)) for flip in range(count) if not here[flip]
        ]
        here = max(near, key=lambda point: scores[point])
        way.append(here)
    return way


@given(SCORES)
def test_a_path_is_the_greedy_one_and_goes_on_where_its_scores_end(scores):
    found = {f"f.{letter}": ("low", "high") for letter in "abc"}
    target = dict.fromkeys(found, "high")

    def point(levels):
        return tuple(levels[path] == "high" for path in found)

    whole = walk(found, target, lambda levels: scores[point(levels)])
    by_name = {arm.name: point(arm.levels) for arm in whole.arms}
    assert whole.finished
    assert [by_name[name] for name in whole.chosen] == greedy(scores, 3)
    assert len(whole.arms) == len(by_name) == walk_length(3) == 7

    known = set()
    rounds = []

    def score(levels):
        return scores[point(levels)] if point(levels) in known else None

    # as launches do: a round's arms are run, and the walk begins again
    while not (part := walk(found, target, score)).finished:
        assert whole.arms[: len(part.arms)] == part.arms
        rounds.append(len({point(arm.levels) for arm in part.arms} - known))
        known |= {point(arm.levels) for arm in part.arms}
    assert part == whole
    assert rounds == [4, 2, 1]


def test_labels_are_the_shortest_ends_that_tell_apart():
    paths = ("suppression.alpha", "suppression.sampling.tau", "train.lr", "suppression.importance.tau", "alpha")
    assert list(labels(dict.fromkeys(paths, ())).values()) == [
        "suppression.alpha", "sampling.tau", "lr", "importance.tau", "alpha"
    ]  # fmt: skip


def test_names_of_arms_say_what_they_change():
    found = {
        "suppression.layer": ("decoder", ["encoder.4", "decoder"]),
        "suppression.sampling": ("uniform", {"name": "inverse_frequency", "tau": 2}, None),
    }
    assert [arm.name for arm in leave_one_out(found)][1:] == [
        "without layer",
        "without sampling (inverse_frequency tau=2)",
        "without sampling (null)",
    ]
    assert [arm.name for arm in one_at_a_time(found)][1:] == [
        "layer=encoder.4+decoder",
        "sampling=inverse_frequency tau=2",
        "sampling=null",
    ]
    assert factorial(found)[4].name == "layer=encoder.4+decoder, sampling=inverse_frequency tau=2"
