"""Which arms of a comparison stop at which look: for being shown to differ, or for having little hope to be.

Each arm has a sequential test of its own (`looks`); at every look Holm's method is applied to the sequential p of all
arms. That is the closed test of weighted Bonferroni tests with group-sequential boundaries (Maurer, Bretz, Stat.
Biopharm. Res. 5, 2013; Ye, Li, Liu, Yao, Stat. Med. 32, 2013): the chance that any arm without an effect is ever shown
to differ is at most alpha, however many arms have one. An arm that stopped keeps its place in the family, and its p.

Futility is not binding: it enters no boundary. Ignoring it, or stopping an arm by hand, keeps the error controlled.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from orchestrator.report.statistics.looks import Look, SequentialTest
from orchestrator.store.looks import ArmLook, Decision, Looks, TakenLook


def holm(p: Sequence[float], family: int | None = None) -> list[float]:
    """Holm's adjusted p (Scand. J. Statist. 6, 1979); hypotheses of the family beyond those given have p 1."""
    adjusted, most, count = [0.0] * len(p), 0.0, len(p) if family is None else family
    for rank, index in enumerate(np.argsort(p, kind="stable")):
        most = max(most, min(1.0, (count - rank) * p[index]))
        adjusted[index] = most
    return adjusted


def chance_at_last(z: float, time: float, level: float) -> float:
    """Chance that the last look shows a difference if the rest is as so far: conditional power under the trend.

    Of Brownian motion (Lan, Simon, Halperin, Sequential Analysis 1, 1982), in the direction of the difference so far.

    Args:
        z: as of a `Look`.
        time: share of the seeds so far, below 1.
        level: what the arm has to pass at the last look.
    """
    from scipy.special import ndtr, ndtri  # late: only studies with looks ask

    critical = -float(ndtri(level / 2))
    return float(ndtr((abs(z) / math.sqrt(time) - critical) / math.sqrt(1 - time)))


@dataclass(frozen=True)
class Shown:
    """What an arm has shown by its last look, or by now."""

    sequential_p: float = 1.0
    adjusted_p: float = 1.0
    look: int = 0
    """Number of its last look; 0 before the first."""


class GroupSequential:
    """The looks at a comparison, one after the other.

    Args:
        looks: The registered rule.
        arms: Those that are compared with the baseline.
        greater_is_better: Direction of the metric.
        family: How many hypotheses there are, where more than the arms.
        describes: As of `SequentialTest`.
    """

    def __init__(
        self,
        looks: Looks,
        arms: Iterable[str],
        *,
        greater_is_better: bool,
        family: int | None = None,
        describes: bool = True,
    ) -> None:
        self.rule = looks
        self._greater, self._family = greater_is_better, family
        self._tests = {
            arm: SequentialTest(looks.seeds, looks.spending, looks.alpha, describes=describes) for arm in arms
        }
        self._p = dict.fromkeys(self._tests, 1.0)
        self._last = dict.fromkeys(self._tests, 0)
        self.in_play = tuple(self._tests)
        """Arms that take the next look."""
        self.taken: list[TakenLook] = []

    @property
    def over(self) -> bool:
        """Whether no arm goes on."""
        return not self.in_play or len(self.taken) == len(self.rule.seeds)

    @property
    def shown(self) -> dict[str, Shown]:
        """What each arm has shown by now."""
        adjusted = holm(list(self._p.values()), self._family)
        return {arm: Shown(p, q, self._last[arm]) for (arm, p), q in zip(self._p.items(), adjusted, strict=True)}

    def take(self, differences: Mapping[str, Mapping[int, float]]) -> TakenLook:
        """Take the next look.

        Args:
            differences: For each arm in play the differences since the look before, by block; there may be none.

        Returns:
            What it showed and decided.

        Raises:
            ValueError: no look is left, or a difference is not finite.
        """
        number = len(self.taken) + 1
        looked = {arm: self._tests[arm].look([d for _, d in sorted(differences[arm].items())]) for arm in self.in_play}
        for arm, look in looked.items():
            self._p[arm], self._last[arm] = look.sequential_p, number
        shown = self.shown
        arms = {arm: self._judged(look, shown[arm], self._level(arm), differences[arm]) for arm, look in looked.items()}
        self.taken.append(TakenLook(number, self.rule.seeds[number - 1], arms))
        self.in_play = tuple(self.taken[-1].names("on"))
        return self.taken[-1]

    def blocks(self, arm: str) -> int:
        """On how many seeds an arm runs by the next look, or ran by its last one."""
        goes_on = arm in self.in_play and not self.over
        look = len(self.taken) + 1 if goes_on else self._last[arm]
        return self.rule.seeds[look - 1] if look else 0

    def _level(self, arm: str) -> float:
        """The level that an arm has to pass: Holm's, after the arms that are shown with a smaller p."""
        shown = self.shown
        passed = [other for other, one in shown.items() if one.adjusted_p <= self.rule.alpha and other != arm]
        before = sum(shown[other].sequential_p < shown[arm].sequential_p for other in passed)
        return self.rule.alpha / ((len(shown) if self._family is None else self._family) - before)

    def _judged(self, look: Look, shown: Shown, level: float, new: Mapping[int, float]) -> ArmLook:
        """What a look showed of an arm that has to pass a level, and what becomes of it."""
        time = self.rule.seeds[len(self.taken)] / self.rule.seeds[-1]
        chance = chance_at_last(look.z, time, level) if time < 1 else None
        return ArmLook(
            differences=dict(sorted(new.items())),
            pairs=look.pairs,
            p=look.p,
            boundary=look.boundary(level),
            sequential_p=look.sequential_p,
            adjusted_p=shown.adjusted_p,
            chance=chance,
            decision=self._decision(look, shown.adjusted_p, chance),
        )

    def _decision(self, look: Look, adjusted_p: float, chance: float | None) -> Decision:
        if adjusted_p <= self.rule.alpha:
            return "better" if (look.z > 0) == self._greater else "worse"
        if chance is None:
            return "not shown"
        return "futile" if self.rule.futility is not None and chance < self.rule.futility else "on"


Outcome: TypeAlias = Callable[[str, int], float | None]
"""Of an arm's run in a block: its value, nan where it ended without one, None where it has not ended."""


def replay(
    looks: Looks,
    arms: Sequence[str],
    baseline: str,
    outcome: Outcome,
    *,
    greater_is_better: bool,
    kept: Sequence[TakenLook] = (),
) -> GroupSequential:
    """Take every look that is due: those that are kept with the differences that they had, then what has ended.

    Args:
        looks: The registered rule.
        arms: Those that are compared with the baseline.
        baseline: Its name.
        outcome: How each run ended.
        greater_is_better: Direction of the metric.
        kept: Looks that were taken before.
    """
    course = GroupSequential(looks, arms, greater_is_better=greater_is_better)
    used: dict[str, set[int]] = {arm: set() for arm in arms}
    while not course.over:
        number, in_play = len(course.taken), course.in_play
        if number < len(kept) and set(in_play) <= kept[number].arms.keys():
            new = {arm: kept[number].arms[arm].differences for arm in in_play}
        else:
            kept, blocks = kept[:number], range(looks.seeds[number])
            if any(outcome(arm, block) is None for arm in (baseline, *in_play) for block in blocks):
                break
            new = {arm: _differences(outcome, arm, baseline, set(blocks) - used[arm]) for arm in in_play}
        for arm in in_play:
            used[arm].update(new[arm])
        course.take(new)
    return course


def _differences(outcome: Outcome, arm: str, baseline: str, blocks: Iterable[int]) -> dict[int, float]:
    """Arm minus baseline of the blocks in which both have a value."""
    values = {block: (outcome(arm, block), outcome(baseline, block)) for block in sorted(blocks)}
    pairs = {block: a - b for block, (a, b) in values.items() if a is not None and b is not None}
    return {block: difference for block, difference in pairs.items() if math.isfinite(difference)}
