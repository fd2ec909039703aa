"""The first sentence about a comparison: which arm helps its objective, or that none is shown to."""

from collections.abc import Mapping, Sequence
from typing import Literal

from orchestrator.report.pages.numbers import count, interval, listed, number, probability, signed
from orchestrator.report.sections.comparison_results import ALPHA, StageResults, verdict
from orchestrator.report.statistics.paired import PairedDifference
from orchestrator.report.statistics.sign_flip import smallest_p
from orchestrator.store.short_picks import short_picks

MOST_CLOSEST = 2
"""Arms without a shown difference whose intervals the sentence gives: those furthest in the wanted direction."""


def headline(stage: StageResults, objective: str) -> str:
    """One sentence; an honest one where nothing is shown or can be."""
    if not any(paired.n for paired in stage.differences(objective).values()):
        return f"No answer yet: no pair of complete runs has {objective}."
    better = ranked(stage, objective, "better")
    return _helps(stage, objective, better) if better else _not_shown(stage, objective)


def ranked(stage: StageResults, metric: str, kind: Literal["better", "worse", "not shown"]) -> list[str]:
    """Arms of a verdict, the best mean difference first."""
    differences, sign = stage.differences(metric), 1 if stage.results.greater_is_better(metric) else -1
    arms = [arm for arm in stage.others if differences[arm].n and verdict(differences[arm]) == kind]
    return sorted(arms, key=lambda arm: -sign * differences[arm].difference)


def with_difference(paired: PairedDifference) -> str:
    """``full (+0.0500, adjusted p 0.008)``."""
    return f"{paired.arm} ({signed(paired.difference)}, adjusted p {probability(paired.p_adjusted)})"


def evidence(paired: PairedDifference, *, adjusted: bool = True) -> str:
    """``+0.3720 [+0.28, +0.46], better on 8 of 8 seeds, adjusted p 0.008``."""
    share = paired.improvement or 0.0
    p = f"adjusted p {probability(paired.p_adjusted)}" if adjusted else f"p {probability(paired.p)}"
    seeds = f"better on {share * paired.n:g} of {count(paired.n, 'seed')}"
    return f"{signed(paired.difference)} {interval(paired.low, paired.high)}, {seeds}, {p}"


def with_intervals(differences: Mapping[str, PairedDifference], arms: Sequence[str]) -> str:
    """Arms with their difference and its interval."""
    paired = [differences[arm] for arm in arms]
    return listed([f"{one.arm} {_with_interval(one)}" for one in paired])


def _with_interval(paired: PairedDifference) -> str:
    difference = signed(paired.difference)
    return difference if paired.low is None else f"{difference} {interval(paired.low, paired.high)}"


def _called(stage: StageResults, arm: str) -> str:
    """An arm as a sentence names it: a configuration of the search by what it picked."""
    picks = next((run.picks for run in stage.results.runs("search", "imported") if run.key == arm), None)
    short = short_picks(picks) if stage.plan.stage == "confirm" else ""
    return f"{short} ({arm})" if short else arm


def _helps(stage: StageResults, objective: str, better: Sequence[str]) -> str:
    differences = stage.differences(objective)
    best = differences[better[0]]
    means = f"{number(best.baseline_mean)} to {number(best.arm_mean)}"
    line = (
        f"{_called(stage, best.arm)} helps: {objective} goes from {means}, {evidence(best)}, against {best.baseline}."
    )
    others = [with_difference(differences[arm]) for arm in better[1:]]
    return f"{line} Better too: {listed(others)}." if others else line


def _not_shown(stage: StageResults, objective: str) -> str:
    """That nothing helps, with the arms that come closest, and whether so few seeds could have shown anything."""
    n, arms = len(stage.blocks), len(stage.others)
    seeds = f"{'up to ' if stage.looks else ''}{count(n, 'seed')}"
    line = f"No arm is shown to help {objective} over {stage.plan.baseline} on {seeds}"
    if smallest_p(n) * arms > ALPHA:
        line += ", too few to show any difference"
    closest = ranked(stage, objective, "not shown")[:MOST_CLOSEST]
    return f"{line}; closest: {with_intervals(stage.differences(objective), closest)}." if closest else f"{line}."
