"""What is left of a study's budget buys: trials of the search, seeds of a comparison and what they can show."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.driver.budget import ROUNDING, waves
from orchestrator.report.statistics.power import detectable_effect
from orchestrator.report.statistics.sign_flip import smallest_p
from orchestrator.store.spending import HOUR_S, Spent
from orchestrator.studyfile import BudgetSection


@dataclass(frozen=True)
class Wanted:
    """Runs of a stage that are left, in blocks that are of use as a whole only; those of a search stand alone."""

    stage: str
    runs: int
    seconds: float
    """Of one run."""
    block: int = 1
    seeds_before: int = 0
    """Blocks that have ended."""


@dataclass(frozen=True)
class Bought:
    """How much of a stage a budget pays."""

    wanted: Wanted
    runs: int

    def __str__(self) -> str:
        stage, block = self.wanted.stage, self.wanted.block
        if stage == "search":
            return f"{self.runs} of {self.wanted.runs} trials of the search"
        seeds, before = self.runs // block, self.wanted.seeds_before
        total = before + -(-self.wanted.runs // block)
        return f"{before + seeds} of {total} seeds of the {stage}'s {block} arms{_evidence(before + seeds, block)}"


def bought(
    section: BudgetSection,
    spent: Spent,
    wanted: Sequence[Wanted],
    *,
    gpus: float,
    slots: int,
    now: float,
    start_s: float = 0.0,
) -> list[Bought]:
    """What of each stage can be paid, one after the other, by the rule of `run.budget`: no block begins halfway.

    Args:
        section: The limits.
        spent: What was used of them.
        wanted: The stages.
        gpus: GPUs of a trial.
        slots: Trials at a time.
        now: Seconds since 1970.
        start_s: What the first trial of each slot takes to begin.
    """
    limits = [section.hours * HOUR_S - spent.seconds] if section.hours is not None else []
    limits += [section.ends - now] if section.ends is not None else []
    seconds_left = min(limits, default=float("inf"))
    gpu_left = (section.gpu_hours - spent.gpu_hours) * HOUR_S if section.gpu_hours is not None else float("inf")
    free = [start_s] * max(1, slots)
    gpu_left -= start_s * gpus * min(len(free), sum(stage.runs for stage in wanted))
    result = []
    for stage in wanted:
        paid = 0
        while paid < stage.runs:
            runs = min(stage.block, stage.runs - paid)
            cost, idle = runs * stage.seconds * gpus, sum(moment <= free[0] for moment in free)
            end = free[0] + stage.seconds * waves(runs, len(free), idle)
            if cost > gpu_left * (1 + ROUNDING) or end > seconds_left * (1 + ROUNDING):
                break
            for _ in range(runs):
                heapq.heapreplace(free, free[0] + stage.seconds)
            gpu_left, paid = gpu_left - cost, paid + runs
        free = [max(free)] * len(free)  # a stage begins when the one before has ended
        result.append(Bought(stage, paid))
        if paid < stage.runs:
            break
    return result + [Bought(stage, 0) for stage in wanted[len(result) :]]


def limit_lines(section: BudgetSection, spent: Spent, now: float) -> Iterator[str]:
    """How much of each limit is used, a line for each."""
    if section.gpu_hours is not None:
        yield f"gpu_hours: {spent.gpu_hours:.3g} of {section.gpu_hours:g} spent{money(section, spent)}"
    if section.hours is not None:
        yield f"hours: {spent.seconds / HOUR_S:.3g} of {section.hours:g} spent"
    if section.ends is not None:
        left = (section.ends - now) / HOUR_S
        yield f"until {section.until}: " + (f"{left:.3g} hours left" if left > 0 else "over")


def money(section: BudgetSection, spent: Spent) -> str:
    """The price of what was spent, in brackets; empty where no price is known."""
    price = section.price_per_gpu_hour
    return "" if price is None else f" ({spent.gpu_hours * price:.2f} at {price:g} per GPU-hour)"


def _evidence(seeds: int, arms: int) -> str:
    if seeds < 1:
        return ""
    effect = detectable_effect(seeds, arms - 1) if arms > 1 else None
    size = "no difference can be shown" if effect is None else f"shows differences of {effect:.1f} deviations or more"
    return f" (no p below {smallest_p(seeds):.2g}; {size})"
