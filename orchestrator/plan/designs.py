"""Designs of an ablation: factors with levels -> arms. Pure: nothing here knows a trial, a record or a runner.

Every design begins with the baseline, which holds the first level of each factor. Sources: fractional designs and their
aliases as in Box, Hunter, Hunter, Statistics for Experimenters (pyDOE3 builds the matrix); ablation paths after Fawcett
& Hoos, Analysing differences between algorithm configurations through ablation (2016).
"""

import itertools
import json
import math
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import JsonValue

from orchestrator.store.stage_plan import Arm
from orchestrator.studyfile.space.trees import same_level
from trainable.configfile.node import JsonObject
from trainable.parts.section import short_name

Factors: TypeAlias = Mapping[str, Sequence[JsonValue]]
"""Levels of each factor by its dotted path, the baseline's first."""
Levels: TypeAlias = Mapping[str, JsonValue]
"""One level of each factor."""
Score: TypeAlias = Callable[[Levels], float | None]
"""Mean score of an arm over its seeds, larger is better; None while its runs have not all ended."""

BASELINE = "baseline"


def leave_one_out(factors: Factors) -> list[Arm]:
    """The baseline, and the baseline with one factor at another level: the sum of the other levels, plus one, arms."""
    names = labels(factors)
    arms = [Arm(BASELINE, baseline(factors))]
    for path, level in _others(factors):
        several = f" ({text(level)})" if len(factors[path]) > 2 else ""
        arms.append(Arm(f"without {names[path]}{several}", baseline(factors) | {path: level}))
    return arms


def one_at_a_time(factors: Factors) -> list[Arm]:
    """The arms of `leave_one_out`, named by what they set."""
    names = labels(factors)
    alone = [Arm(f"{names[path]}={text(level)}", baseline(factors) | {path: level}) for path, level in _others(factors)]
    return [Arm(BASELINE, baseline(factors)), *alone]


def factorial(factors: Factors) -> list[Arm]:
    """Every combination; the last factor changes fastest."""
    names = labels(factors)
    return [
        _combined(dict(zip(factors, row, strict=True)), factors, names) for row in itertools.product(*factors.values())
    ]


def fractional(factors: Factors, resolution: int) -> tuple[list[Arm], tuple[str, ...]]:
    """The smallest regular fraction of two-level factors with a resolution, and its aliases.

    Of the fractions with one defining relation up to sign it is the one that holds the baseline.

    Args:
        factors: At least ``resolution`` factors of two levels.
        resolution: Length of the shortest word of the defining relation.

    Returns:
        The arms, and one line for every set of main effects and two-factor interactions that cannot be told apart.

    Raises:
        ValueError: there is no such fraction.
    """
    from pyDOE3 import fracfact  # late: with scipy it takes 1.5 s to import

    words = generators(len(factors), resolution)
    # a product of an odd number of low levels is low, of an even number high: the sign keeps the baseline all low
    signed = [f"{'' if len(word) % 2 else '-'}{word}" for word in words]
    matrix = fracfact(" ".join(signed))
    names = labels(factors)
    rows = [
        {path: levels[int(sign > 0)] for (path, levels), sign in zip(factors.items(), row, strict=True)}
        for row in matrix
    ]
    rows.sort(key=lambda row: row != baseline(factors))  # the baseline first, the others as they come
    return [_combined(row, factors, names) for row in rows], aliases(words, list(names.values()))


def generators(factors: int, resolution: int) -> list[str]:
    """Words that make each column of the smallest fraction: base factors are letters, the others products of them.

    pyDOE3's own search misses half fractions, and for 7 factors returns resolution IV where V is asked.
    """
    for base in range(max(2, math.ceil(math.log2(factors + 1))), factors):
        letters = string.ascii_lowercase[:base]
        products = [
            sum(1 << i for i in word)
            for k in range(resolution - 1, base + 1)
            for word in itertools.combinations(range(base), k)
        ]
        chosen = _choose(products, base, factors - base, resolution, [0])
        if chosen is not None:
            words = ["".join(letter for i, letter in enumerate(letters) if word >> i & 1) for word in chosen]
            return [*letters, *words]
    raise ValueError(f"no fraction of {factors} two-level factors has resolution {resolution}")


def _choose(products: Sequence[int], base: int, missing: int, resolution: int, relation: list[int]) -> list[int] | None:
    """Products for the factors that are left, so that every word of the defining relation is long enough.

    Args:
        products: Candidates, as bit masks of base factors.
        base: Number of columns before the next one.
        missing: Columns still to be made.
        resolution: Least length of a word.
        relation: Words of the defining relation so far, as bit masks of all columns; 0 is the empty word.
    """
    if not missing:
        return []
    for index, product in enumerate(products):
        word = product | 1 << base
        wider = [*relation, *(known ^ word for known in relation)]
        if all(known.bit_count() >= resolution for known in wider[1:]):
            rest = _choose(products[index + 1 :], base + 1, missing - 1, resolution, wider)
            if rest is not None:
                return [product, *rest]
    return None


def aliases(words: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Main effects and two-factor interactions that a fraction cannot tell apart, up to sign; one line for each set."""
    from pyDOE3 import fracfact, fracfact_aliasing  # late: as above

    lines, _ = fracfact_aliasing(fracfact(" ".join(words)))
    groups = [[effect for effect in line.split(" = ") if len(effect) <= 2] for line in lines]
    return tuple(
        " = ".join(" x ".join(names[ord(letter) - ord("a")] for letter in effect) for effect in effects)
        for effects in groups
        if len(effects) > 1
    )


@dataclass(frozen=True)
class Walk:
    """An ablation path as far as its scores reach."""

    arms: tuple[Arm, ...]
    """Baseline, then the arms of each round in the order of the factors."""
    chosen: tuple[str, ...]
    """Names of the arms on the path, baseline first."""
    finished: bool
    """Whether the path has reached the target."""


def walk(factors: Factors, target: Levels, score: Score) -> Walk:
    """Go from the baseline to the target, in every round the flip that scores best; ties go to the earlier factor.

    The arms of a round follow from the scores of the rounds before, so a walk that is begun again is the same.
    """
    names = labels(factors)
    here = baseline(factors)
    arms, chosen = [Arm(BASELINE, here)], [BASELINE]
    differing = [path for path in factors if not same_level(target[path], here[path])]
    while differing:
        flips = [_combined(here | {path: target[path]}, factors, names, " + ") for path in differing]
        arms += flips
        scores = [score(arm.levels) for arm in flips]
        known = [value for value in scores if value is not None]
        if len(known) < len(scores):
            return Walk(tuple(arms), tuple(chosen), finished=False)
        best = known.index(max(known))
        chosen.append(flips[best].name)
        here = dict(flips[best].levels)
        del differing[best]
    return Walk(tuple(arms), tuple(chosen), finished=True)


def walk_length(factors: int) -> int:
    """Arms of a path that flips so many factors."""
    return 1 + factors * (factors + 1) // 2


def baseline(factors: Factors) -> JsonObject:
    """The first level of each factor."""
    return {path: levels[0] for path, levels in factors.items()}


def labels(paths: Factors) -> dict[str, str]:
    """The shortest end of each path that no other path ends with."""
    shortest = {}
    for path in paths:
        keys = path.split(".")
        ends = [".".join(keys[index:]) for index in range(len(keys) - 1, -1, -1)]
        others = [f".{other}" for other in paths if other != path]
        shortest[path] = next((end for end in ends if not any(other.endswith(f".{end}") for other in others)), path)
    return shortest


def text(level: JsonValue) -> str:
    """A level in short: a section by its name and settings."""
    match level:
        case str():
            return short_name(level)
        case dict() if isinstance(name := level.get("name"), str):
            settings = {key: value for key, value in level.items() if key not in ("name", "sha256")}
            return " ".join([short_name(name), *(f"{key}={text(value)}" for key, value in settings.items())])
        case list():
            return "+".join(map(text, level))
        case _:
            return json.dumps(level)


def _others(factors: Factors) -> Iterator[tuple[str, JsonValue]]:
    for path, levels in factors.items():
        for level in levels[1:]:
            yield path, level


def _combined(levels: Levels, factors: Factors, names: Mapping[str, str], between: str = ", ") -> Arm:
    """A combination, named by what differs from the baseline."""
    changed = [path for path in factors if not same_level(levels[path], factors[path][0])]
    return Arm(between.join(f"{names[path]}={text(levels[path])}" for path in changed) or BASELINE, dict(levels))
