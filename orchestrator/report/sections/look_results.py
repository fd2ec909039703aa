"""Looks at a comparison as its runs tell them: what each decided, and what p any metric has over the same looks.

The looks follow the first objective. The p of every metric, class and pair of arms is over the looks that the arm took:
its error is controlled whatever made the arm stop, as a boundary that is not reached any more cannot be crossed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from orchestrator.report.source import Results, Run
from orchestrator.report.statistics.group_sequential import GroupSequential, replay
from orchestrator.report.statistics.looks import SequentialTest
from orchestrator.report.statistics.paired import PairTest
from orchestrator.report.statistics.sign_flip import Floats
from orchestrator.store.looks import Looks, TakenLook, most_blocks
from orchestrator.store.stage_plan import StagePlan


@dataclass(frozen=True)
class LookResults:
    """The looks that were taken at a stage."""

    rule: Looks
    taken: tuple[TakenLook, ...]
    blocks: Mapping[str, int]
    """On how many seeds each arm runs at most, as it now stands."""
    over: bool
    """Whether no arm goes on."""
    _entries: Mapping[str, Mapping[int, int]]
    """For each arm and block the look, from 0, at which its run was there."""

    @staticmethod
    def of(results: Results, plan: StagePlan, rule: Looks, runs: Mapping[tuple[str, int], Run]) -> "LookResults":
        """The looks at the runs of a stage, by arm and block."""
        arms = [arm.name for arm in plan.arms if arm.name != plan.baseline]
        objective = results.objectives[0]

        def outcome(arm: str, block: int) -> float | None:
            run = runs.get((arm, block))
            if run is None or not run.state.final:
                return None
            value = results.last(run, objective.metric) if run.complete else None
            return math.nan if value is None else value

        kept, greater = results.looks.get(plan.stage, ()), objective.mode == "max"
        course = replay(rule, arms, plan.baseline, outcome, greater_is_better=greater, kept=kept)
        blocks = most_blocks([*arms, plan.baseline], plan.baseline, rule.seeds[-1], course.taken)
        entries = {arm: _entries(course, arm) for arm in arms} | {plan.baseline: _by_seeds(rule, len(course.taken))}
        return LookResults(rule, tuple(course.taken), blocks, course.over, entries)

    def test(self, other: str) -> PairTest:
        """The test of an arm's differences to another arm, over the looks that both took."""
        return partial(self._p, other)

    def _p(self, other: str, arm: str, blocks: Sequence[int], differences: Floats) -> float | None:
        """Sequential p; None below two pairs, and before the first look."""
        both = self._entries[arm], self._entries[other]
        entries = [max(each.get(block, len(self.taken)) for each in both) for block in blocks]
        looks = min(max(each.values(), default=-1) for each in both) + 1
        if not looks or sum(entry < looks for entry in entries) < 2:
            return None
        test = SequentialTest(self.rule.seeds, self.rule.spending, self.rule.alpha)
        p = 1.0
        for look in range(looks):
            new = [d for d, entry in zip(differences.tolist(), entries, strict=True) if entry == look]
            p = test.look(new).sequential_p
        return p


def _entries(course: GroupSequential, arm: str) -> dict[int, int]:
    """The look at which each block of an arm counted first: by its seed, later where its run was repeated."""
    own = [look for look in course.taken if arm in look.arms]
    late = {block: at for at, look in enumerate(own) for block in look.arms[arm].differences}
    return {block: late.get(block, at) for block, at in _by_seeds(course.rule, len(own)).items()}


def _by_seeds(rule: Looks, looks: int) -> dict[int, int]:
    """The first look, of so many, after each block has ended."""
    seeds = rule.seeds[:looks]
    return {block: next(at for at, most in enumerate(seeds) if block < most) for block in range(max(seeds, default=0))}
