"""What a comparison's design adds: effects of factors, what a fraction cannot tell apart, the chain of a path."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from orchestrator.report.pages.document import Block, Bullets, Cell, Heading, Paragraph, Table, cells, slug
from orchestrator.report.pages.numbers import interval, number, probability, setting, signed
from orchestrator.report.sections.comparison_results import ALPHA, StageResults
from orchestrator.report.statistics.effects import Effect, effects
from orchestrator.report.statistics.paired import compare


def design_blocks(stage: StageResults, metrics: Sequence[str]) -> Iterator[Block]:
    """Tables that only some designs have."""
    match stage.plan.design:
        case "factorial" | "fractional":
            yield from _effects(stage, metrics)
        case "path":
            yield from _path(stage, metrics)
    if stage.plan.aliases:
        yield Heading(f"What the {stage.noun} cannot tell apart", level=3)
        yield Paragraph(
            "The fraction ran only a part of all combinations, so that each of these has one joint estimate. An effect "
            "above may be any of those in its line."
        )
        yield Bullets(stage.plan.aliases)


def _effects(stage: StageResults, metrics: Sequence[str]) -> Iterator[Block]:
    estimates = {metric: _estimated(stage, metric) for metric in metrics}
    if not any(estimates.values()):
        yield Paragraph("No effect of a factor can be estimated from the complete runs.", warning=True)
        return
    yield Heading("Effects of the factors", level=3)
    yield Paragraph(
        "Each effect is an average over the levels of the other factors, from a linear model with the seed as block. "
        "An interaction says how much a factor's effect depends on the other; where it is large, the averages mislead."
    )
    for metric, estimated in estimates.items():
        if estimated:
            yield _effects_table(stage, metric, estimated)


def _estimated(stage: StageResults, metric: str) -> list[Effect]:
    values = stage.values(metric)
    rows = [(arm.levels, block, value) for arm in stage.arms for block, value in sorted(values[arm.name].items())]
    if not all(factor in levels for levels, _, _ in rows for factor in stage.plan.factors):
        return []
    return effects(rows, stage.plan.factors, interactions=True)


def _effects_table(stage: StageResults, metric: str, estimated: Sequence[Effect]) -> Table:
    rows = []
    for effect in estimated:
        strong = effect.p_adjusted is not None and effect.p_adjusted <= ALPHA
        texts = (
            signed(effect.estimate),
            interval(effect.low, effect.high),
            probability(effect.p_adjusted),
            str(effect.n),
        )
        levels = (" → " if len(effect.levels) == 2 else ", ").join(map(setting, effect.levels))
        name = effect.name.replace(":", " × ")
        rows.append((Cell(name, "strong" if strong else "plain"), Cell(levels), *cells(texts)))
    return Table(
        f"{stage.plan.stage}-effects-{slug(metric)}",
        f"{stage.title}: effects of the factors on {metric}",
        ("factor", "levels", "effect", "95 % interval", "p", "n"),
        tuple(rows),
        words=2,
        note=f"p: t test (F test for more than two levels), adjusted by Holm's method over the table. Bold: p ≤ "
        f"{ALPHA:g}. Effects that the complete runs cannot tell apart are not in the table.",
    )


def _path(stage: StageResults, metrics: Sequence[str]) -> Iterator[Block]:
    levels = {arm.name: arm.levels for arm in stage.arms}
    chain = [name for name in stage.plan.chosen if name in levels]
    if len(chain) < 2:
        yield Paragraph("The path has not taken its first step yet.", warning=True)
        return
    metric = metrics[0]
    rows = [(Cell("0"), Cell(chain[0]), Cell("start"), *_path_cells(stage, metric, None, chain[0]))]
    for step, (before, after) in enumerate(pairwise(chain), start=1):
        flip = _flip(levels[before], levels[after])
        rows.append((Cell(str(step)), Cell(after), Cell(flip), *_path_cells(stage, metric, before, after)))
    end = levels[chain[-1]]
    ahead = ", ".join(name for name, level in stage.plan.target.items() if end.get(name) != level)
    where = f" It has not reached its target: {ahead} is still to change." if ahead else " It reached its target."
    yield Heading("The path", level=3)
    yield Paragraph("At each step every factor still to change was tried alone, and the best of them was kept." + where)
    yield Table(
        f"{stage.plan.stage}-path",
        f"{stage.title}: the steps taken, by {metric}",
        ("step", "arm", "change", f"{metric}", "Δ to the step before", "95 % interval", "p", "n"),
        tuple(rows),
        words=3,
        note="Each step was chosen for its score, so its Δ is biased upwards and its p (not adjusted) too small: the "
        "order of the path is a description. The comparison of its end with its start in the tables above is the test.",
    )


def _flip(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return "; ".join(f"{name}: {setting(before.get(name))} → {setting(after.get(name))}" for name in changed)


def _path_cells(stage: StageResults, metric: str, before: str | None, after: str) -> tuple[Cell, ...]:
    values = stage.values(metric)
    own = list(values[after].values())
    mean = number(sum(own) / len(own)) if own else number(None)
    if before is None:
        return cells((mean, "", "", "", str(len(own))))
    pair = {before: values[before], after: values[after]}
    greater = stage.results.greater_is_better(metric)
    [step] = compare(pair, before, metric=metric, greater_is_better=greater, blocks=stage.blocks)
    return cells((mean, signed(step.difference), interval(step.low, step.high), probability(step.p), str(step.n)))
