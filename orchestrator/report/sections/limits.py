"""What a report cannot conclude, in words: said beside the results, not in a manual."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from orchestrator.report.pages.document import Block, Bullets, Heading
from orchestrator.report.pages.numbers import count, listed, probability
from orchestrator.report.sections.batch_statistics import batch_statistics
from orchestrator.report.sections.comparison_results import ALPHA, StageResults
from orchestrator.report.source import Results, Run
from orchestrator.report.statistics.power import detectable_effect
from orchestrator.report.statistics.sign_flip import seeds_needed, smallest_p
from orchestrator.store.trial_record import State

MOST_LISTED = 30
"""Runs that are listed one by one."""
_WORDS = {State.PRUNED: "stopped early", State.RUNNING: "not finished"}
"""States that a reader would not call by their own names."""


def stage_limits(stage: StageResults, metrics: Sequence[str]) -> Iterator[str]:
    """What a comparison cannot tell, and which of its runs are missing."""
    yield from _seed_limits(stage, metrics)
    yield (
        "Seeds vary the weights' start, the order of the data and the drops; the data set is one and the same. What is "
        "shown holds for this data set, model and length of training."
    )
    yield from batch_statistics(stage.results, [run for arm in stage.arms for run in stage.complete(arm.name)])
    yield from _shared_prefixes(stage.results, list(stage.runs.values()))
    yield from _split_limits(stage)
    if stage.strays:
        yield f"Runs of this stage that its plan does not hold are left out: {listed(stage.strays)}."
    yield from _missing(stage)


def _shared_prefixes(results: Results, runs: Sequence[Run]) -> Iterator[str]:
    """What runs trained once for all of a seed, and what that leaves out."""
    heirs = [run for run in runs if run.key in results.inherited]
    keys = {results.inherited[run.key][0] for run in heirs}
    trained = sum(prefix.rows.stop - prefix.rows.start for prefix in results.runs("prefix") if prefix.key in keys)
    if heirs:
        saved = sum(results.inherited[run.key][1] for run in heirs) - trained
        yield (
            f"Blocks share their prefix: {count(len(heirs), 'run')} began with the epochs of "
            f"{count(len(keys), 'plain trial')} instead of training them again ({count(saved, 'epoch')} saved). On "
            "equal processors that changes no value, and each run counts with its own later epochs alone: on machines "
            "that round otherwise, what happened in a prefix is common to its block and varies no difference within it."
        )


def _seed_limits(stage: StageResults, metrics: Sequence[str]) -> Iterator[str]:
    arms = len(stage.others)
    planned = len(stage.blocks)
    fewer = [
        one.n
        for metric in metrics
        for one in stage.differences(metric).values()
        if one.n < len(stage.planned_blocks(one.arm))
    ]
    if not arms:
        yield f"There is no arm besides {stage.plan.baseline}: nothing is compared."
    elif underpowered(stage) is None:
        yield from _power(planned, arms)
    if stage.looks is not None:
        yield from _look_limits()
    if fewer:
        yield (
            f"Some comparisons rest on fewer seeds than planned, the smallest on {min(fewer)}: pairs with a missing "
            "run are left out, never filled in. If a run failed because of what its arm does, what is left is biased."
        )
    yield (
        "“Not shown” is not “no effect”: a difference may be there and be too small for so few seeds. The intervals "
        "say how large it may still be."
    )


def _look_limits() -> Iterator[str]:
    """What stopping early leaves of the numbers."""
    yield (
        "Arms stopped at different numbers of seeds, so that their means are over different seeds: compare them by Δ. "
        "An arm that stopped for being shown was met at a good moment: its Δ is biased away from zero, and the 95 % "
        "intervals are nominal, a little too narrow. Arms that stopped for futility are “not shown”, no more."
    )
    yield (
        "Whether an arm went on was decided by the first objective. p of effects of factors and of a path's steps, and "
        "every interval, do not know of the looks; all other p do."
    )


def _split_limits(stage: StageResults) -> Iterator[str]:
    """What one evaluation split, its classes and the choice of metrics leave open."""
    tested = any(metric.startswith("test/") for metric in stage.results.metrics)
    if stage.plan.stage == "confirm":
        yield (
            "The configurations were chosen by their scores on the same evaluation split: their fresh seeds remove the "
            "luck of the seed, not the fit to that split. "
            + ("The test/ metrics are of a split that chose nothing." if tested else "A test split would.")
        )
    if len(stage.classes) == 1:
        yield f"There is a single class ({stage.classes[0]}): nothing can be said about classes against each other."
    yield (
        "p is adjusted over the arms within each metric of this stage, not over metrics or stages: the objective was "
        "named before the runs, every other metric is secondary."
    )
    if stage.plan.stage == "ablation" and stage.results.runs("search"):
        yield (
            "A baseline that a search chose is fitted to this evaluation split: differences to it lean towards worse."
        )


def search_limits(results: Results, complete: Sequence[Run]) -> Iterator[str]:
    """What a search cannot tell."""
    yield (
        "A search runs one seed per configuration and picks the best score: that score is biased upwards, and the "
        "order of close configurations is chance. Only a confirmation on fresh seeds compares."
    )
    yield (
        "Importance, slices and parallel coordinates describe the trials that the sampler chose to run, which crowd "
        "where scores were good. They suggest what to ablate; they show no effect."
    )
    searched = results.runs("search", "imported")
    pruned = sum(trial.state is State.PRUNED for trial in searched)
    if pruned:
        yield (
            f"{count(pruned, 'trial')} of {len(searched)} stopped early and enter no figure but the history: their "
            "last value is not that of a full training."
        )
    yield from batch_statistics(results, [*complete, *results.runs("reference")])
    yield from _shared_prefixes(results, searched)
    if complete and len({run.seed for run in complete}) == 1 and len(complete) > 1:
        yield "All trials have the same seed: what is best may be best for this seed alone."


def left_out(results: Results) -> Iterator[Block]:
    """The runs outside the comparisons that enter nothing: a line for each state and reason."""
    groups: dict[tuple[State, str], list[str]] = defaultdict(list)
    for run in results.runs("search", "imported", "reference"):
        if not run.complete:
            groups[run.state, run.reason or "no reason kept"].append(run.key)
    order = list(State)
    lines = []
    for (state, reason), keys in sorted(groups.items(), key=lambda item: (order.index(item[0][0]), item[0][1])):
        why = "" if state is State.RUNNING else f": {reason}"
        lines.append(f"{count(len(keys), 'run')} {_WORDS.get(state, state)} ({listed(keys, 5)}){why}")
    if len(lines) > MOST_LISTED:
        lines = [*lines[:MOST_LISTED], f"and {len(lines) - MOST_LISTED} further reasons; the table holds all"]
    if lines:
        yield Heading("Runs of the search that enter nothing")
        yield Bullets(tuple(lines))


def underpowered(stage: StageResults) -> str | None:
    """Why no difference of this stage can be significant; None where one can."""
    n, arms = len(stage.blocks), len(stage.others)
    smallest = smallest_p(n)
    if not arms or smallest * arms <= ALPHA:
        return None
    adjusted = f", {probability(min(1.0, smallest * arms))} after adjusting for {arms} arms" if arms > 1 else ""
    return (
        f"With {count(n, 'seed')} the smallest possible p is {probability(smallest)}{adjusted}: no difference can be "
        f"significant, whatever its size. {seeds_needed(arms, ALPHA)} seeds would be needed for {count(arms, 'arm')}."
    )


def _power(n: int, arms: int) -> Iterator[str]:
    seeds, compared = count(n, "seed"), count(arms, "arm")
    yield (
        f"With {seeds} the smallest possible p is {probability(smallest_p(n))}; {seeds_needed(arms, ALPHA)} seeds are "
        f"the least for {compared}."
    )
    effect = detectable_effect(n, arms)
    if effect is not None:
        yield (
            f"With {seeds} and {compared}, a difference is found four times in five if it is at least {effect:.1f} "
            "times as large as the standard deviation of the differences between seeds; smaller ones are mostly missed."
        )


def _missing(stage: StageResults) -> Iterator[str]:
    """Planned runs that enter no statistic, by arm and block."""
    planned = [(arm.name, block) for arm in stage.arms for block in stage.planned_blocks(arm.name)]
    missing = [cell for cell in planned if cell not in stage.runs or not stage.runs[cell].complete]
    for arm, block in missing[:MOST_LISTED]:
        run = stage.runs.get((arm, block))
        why = f": {run.reason}" if run and run.reason else ""
        state = f" ({run.key}), {_WORDS.get(run.state, run.state)}{why}" if run else ", not begun"
        yield f"Left out: {arm}, seed {stage.plan.seeds[block]}{state}."
    if len(missing) > MOST_LISTED:
        yield f"Left out: {len(missing) - MOST_LISTED} further runs; the table holds all."
