"""The section of a comparison: what was compared, tables by metric, figures, and what its design adds."""

import math
from collections.abc import Iterator, Sequence
from functools import partial

from orchestrator.report.charts.comparison_charts import arm_means, class_heat_map, forest, learning_curves
from orchestrator.report.pages.document import Block, Bullets, Cell, Heading, Paragraph, Picture, Table, cells, slug
from orchestrator.report.pages.numbers import count, interval, listed, mean, probability, share, signed, spread
from orchestrator.report.sections.arm_columns import MOST_COLUMNS, Columns, component_columns
from orchestrator.report.sections.best_epochs import best_epoch_table
from orchestrator.report.sections.comparison_results import ALPHA, StageResults, overview, tone, verdict
from orchestrator.report.sections.context import context_blocks
from orchestrator.report.sections.design import design_blocks
from orchestrator.report.sections.efficacy import efficacy_blocks
from orchestrator.report.sections.entanglement import entanglement_blocks
from orchestrator.report.sections.headline import with_intervals
from orchestrator.report.sections.limits import stage_limits, underpowered
from orchestrator.report.sections.looks import look_blocks
from orchestrator.report.sections.predictions import arm_runs, prediction_blocks
from orchestrator.report.sections.reliability import reliability_blocks
from orchestrator.store.stage_plan import StagePlan
from trainable.evaluate.metrics.glossary import named
from trainable.evaluate.metrics.names import iou_name

STATISTICS_NOTE = (
    "Mean ± standard deviation over the runs of the arm; Δ: mean difference to the baseline within seeds, with its 95 "
    "% interval (not adjusted for several arms); p: two-sided sign-flip test, adjusted for all arms by Holm's method; "
    f"P(better): share of seeds in which the arm is better; n: pairs. Bold: adjusted p ≤ {ALPHA:g}."
)
MOST_SENTENCES = 12
"""Arms with a shown difference that have a sentence each."""
MOST_CLASS_COLUMNS = 12
"""Arms in the table of classes: those that come first by the first metric."""
MOST_RELIABLE = 8
"""Arms with a reliability diagram."""
_DESIGNS = {
    "confirm": "The best configurations of the search and the references, on seeds that the search has not seen",
    "arms": "Named arms",
    "leave_one_out": "The full method, and the full method without one part at a time",
    "one_at_a_time": "The baseline, and the baseline with one factor changed at a time",
    "factorial": "A full factorial design: every combination of levels",
    "fractional": "A fractional factorial design: a balanced part of all combinations",
    "path": "A path from the baseline to a target, one factor at a time, the best next step at each point",
}


def stage_blocks(stage: StageResults, metrics: Sequence[str]) -> Iterator[Block]:
    """Everything about one comparison."""
    reported = [metric for metric in metrics if any(stage.values(metric).values())]
    yield Heading(stage.title)
    yield Paragraph(_what_was_compared(stage))
    for line in _warnings(stage, [metric for metric in metrics if metric not in reported]):
        yield Paragraph(line, warning=True)
    if reported:
        objectives = [metric for metric in reported if metric in stage.results.objective_metrics]
        yield from _findings(stage, objectives or reported[:1])
        first = (objectives or reported)[0]
        yield from look_blocks(stage)
        yield from prediction_blocks(stage.results, stage.plan.stage, stage.title, arm_runs(stage, first))
        yield from _tables(stage, reported, component_columns(stage))
        yield from _figures(stage, reported)
        yield from _classes(stage, first)
        yield from design_blocks(stage, reported)
        runs = {arm.name: stage.complete(arm.name) for arm in stage.arms}
        reliable = dict(list(runs.items())[:MOST_RELIABLE])
        yield from reliability_blocks(stage.results, stage.plan.stage, stage.title, reliable)
        yield from efficacy_blocks(stage.results, stage.plan.stage, stage.title, runs)
        yield from entanglement_blocks(stage)
        yield from context_blocks(stage)
    yield Heading(f"Limits of the {stage.noun}", level=3)
    yield Bullets(tuple(stage_limits(stage, reported)))


def _what_was_compared(stage: StageResults) -> str:
    plan = stage.plan
    most = "up to " if plan.looks else ""
    return (
        f"{_DESIGNS.get(plan.design, plan.design)}: {count(len(plan.arms), 'arm')}, each run once on {most}"
        f"{count(len(plan.seeds), 'seed')} ({listed(plan.seeds, 12)}); every arm is compared with {plan.baseline} "
        f"within seeds. {_when_planned(plan)}{_hash(stage)} "
        "Values are those of the last epoch where no best epoch is named."
    )


def _hash(stage: StageResults) -> str:
    digest = stage.results.plan_hashes.get(stage.plan.stage)
    return f" Hash of the plan: {digest}." if digest else ""


def _when_planned(plan: StagePlan) -> str:
    if plan.earlier:
        return "This plan replaced an earlier one."
    if plan.design == "path":
        return "Factors and seeds were planned before any result; the arms follow from the results."
    return "Planned before any result."


def _warnings(stage: StageResults, absent: Sequence[str]) -> Iterator[str]:
    """What a reader must know before any number; ``absent`` are metrics without a value."""
    if stage.plan.earlier:
        yield (
            "The plan was changed after runs had begun; p values are nominal, as they do not know of a choice to go on "
            f"or of what to compare. Before: {'; '.join(stage.plan.earlier)}."
        )
    hopeless = underpowered(stage)
    if hopeless is not None:
        yield hopeless
    if absent:
        yield f"No complete run of this stage reports {listed(absent)}."


def _findings(stage: StageResults, metrics: Sequence[str]) -> Iterator[Block]:
    lines: list[str] = []
    for metric in metrics:
        differences = stage.differences(metric)
        silent = [arm for arm in stage.others if differences[arm].n and verdict(differences[arm]) == "not shown"]
        together = silent if len(silent) > 1 else []
        alone = [arm for arm in stage.others if arm not in together]
        lines += [_finding(stage, arm, metric) for arm in alone[:MOST_SENTENCES]]
        if len(alone) > MOST_SENTENCES:
            lines.append(f"{len(alone) - MOST_SENTENCES} further arms are in the table of {metric}.")
        if together:
            listing = with_intervals(differences, together)
            lines.append(f"A difference to {stage.plan.baseline} in {metric} is not shown for {listing}.")
    if lines:
        yield Bullets(tuple(lines))


def _finding(stage: StageResults, arm: str, metric: str) -> str:
    paired = stage.differences(metric)[arm]
    if not paired.n:
        return f"{arm}: no pair of complete runs with {stage.plan.baseline}, so nothing can be said on {metric}."
    numbers = f"Δ {signed(paired.difference)}"
    if paired.low is not None:
        numbers += f" {interval(paired.low, paired.high)}"
    numbers += f", adjusted p {probability(paired.p_adjusted)}, n {paired.n}"
    match verdict(paired):
        case "not shown":
            return f"{arm}: a difference to {stage.plan.baseline} in {metric} is not shown ({numbers})."
        case word:
            return f"{arm}: {word} than {stage.plan.baseline} in {metric} ({numbers})."


def _tables(stage: StageResults, metrics: Sequence[str], columns: Columns) -> Iterator[Block]:
    name = stage.plan.stage
    if len(columns.heads) > MOST_COLUMNS:
        yield _settings(stage, columns)
        columns = Columns((), {arm.name: () for arm in stage.arms})
    if len(metrics) > 1:
        heads = ("arm", *map(stage.results.arrow, metrics))
        rows = [(Cell(arm.name), *(overview(stage, arm.name, m) for m in metrics)) for arm in stage.arms]
        note = f"Mean and Δ to {stage.plan.baseline}; bold: adjusted p ≤ {ALPHA:g}, each metric adjusted by itself."
        yield Table(f"{name}-overview", f"{stage.title}: all metrics at a glance", heads, tuple(rows), note=note)
    for metric in metrics:
        note = _note(stage) if metric == metrics[0] else f"Columns as in the table of {metrics[0]}."
        yield _metric_table(stage, metric, columns, note)
        if metric in stage.results.objective_metrics:
            yield best_epoch_table(stage, metric)


def _note(stage: StageResults) -> str:
    if stage.looks is None:
        return STATISTICS_NOTE
    return (
        f"{STATISTICS_NOTE} p is sequential here: it counts every look that the arm took, for each metric. Δ and "
        "interval are of the seeds that ran and do not know of the looks."
    )


def _settings(stage: StageResults, columns: Columns) -> Table:
    """Factors as rows, arms as columns: for arms that differ in many settings."""
    rows = [cells((head, *(columns.cells[arm.name][i] for arm in stage.arms))) for i, head in enumerate(columns.heads)]
    heads = ("setting", *(arm.name for arm in stage.arms))
    return Table(f"{stage.plan.stage}-settings", f"{stage.title}: settings of the arms", heads, tuple(rows))


def _metric_table(stage: StageResults, metric: str, columns: Columns, note: str) -> Table:
    heads = ("arm", *columns.heads, stage.results.arrow(metric), "Δ", "95 % interval", "p", "P(better)", "n")
    rows = [
        (Cell(arm.name), *cells(columns.cells[arm.name]), *_statistics(stage, arm.name, metric)) for arm in stage.arms
    ]
    caption = f"{stage.title}: {named(metric)}, each arm against {stage.plan.baseline}"
    return Table(f"{stage.plan.stage}-{slug(metric)}", caption, heads, tuple(rows), note=note)


def _statistics(stage: StageResults, arm: str, metric: str) -> tuple[Cell, ...]:
    values = list(stage.values(metric)[arm].values())
    own = Cell(spread(values))
    if arm == stage.plan.baseline:
        return (own, *cells(("baseline", "", "", "", str(len(values))), "muted"))
    paired = stage.differences(metric)[arm]
    difference, p = Cell(signed(paired.difference), tone(paired)), Cell(probability(paired.p_adjusted), tone(paired))
    limits = Cell(interval(paired.low, paired.high))
    return (own, difference, limits, p, *cells((share(paired.improvement), str(paired.n))))


def _figures(stage: StageResults, metrics: Sequence[str]) -> Iterator[Block]:
    name = stage.plan.stage
    caption = f"{stage.title}: every run (small), and the mean of each arm with its 95 % interval over seeds."
    yield Picture(f"{name}-means", caption, partial(arm_means, stage, metrics))
    if stage.others:
        caption = (
            f"{stage.title}: difference to {stage.plan.baseline} with 95 % interval over seeds. Circle: better, "
            f"square: worse (adjusted p ≤ {ALPHA:g}); grey diamond: not shown."
        )
        yield Picture(f"{name}-forest", caption, partial(forest, stage, metrics))
    caption = (
        f"Line: mean over the complete runs; band: 95 % t interval of the mean; grey and dashed: {stage.plan.baseline}."
    )
    for metric in metrics:
        if metric in {*stage.results.objective_metrics, metrics[0]}:
            words = f"{stage.title}: {metric} by epoch. {caption}"
            yield Picture(f"{name}-curves-{slug(metric)}", words, partial(learning_curves, stage, metric))


def _classes(stage: StageResults, metric: str) -> Iterator[Block]:
    if not stage.class_differences or len(stage.classes) < 2:
        return
    marked = stage.results.rare
    known = "Rare classes (under 2 % of the training pixels) are marked" if marked else "No class is marked as rare"
    if marked is None:
        known = "Which classes are rare was not kept when this study was launched, so none is marked"
    yield Heading(f"Classes in the {stage.noun}", level=3)
    yield Paragraph(
        "Exploratory: so many comparisons were not planned one by one. p is adjusted by Benjamini and Hochberg's "
        "method over all arms and classes, which bounds the expected share of false findings and not the chance of a "
        f"single one. {known}."
    )
    frames = f"Framed: adjusted p ≤ {ALPHA:g}. Blue is better than the baseline, red worse, grey has no pair."
    caption = f"{stage.title}: difference of IoU to {stage.plan.baseline} by class. {frames}"
    yield Picture(f"{stage.plan.stage}-classes", caption, partial(class_heat_map, stage))
    yield _class_table(stage, metric)


def _class_table(stage: StageResults, metric: str) -> Table:
    rows = []
    arms = _leading(stage, metric)
    for name in stage.classes:
        baseline = list(stage.values(iou_name(name))[stage.plan.baseline].values())
        paired = [stage.class_differences[name, arm] for arm in arms]
        differences = [Cell(signed(one.difference), tone(one)) for one in paired]
        rows.append((*cells((stage.class_label(name), mean(baseline))), *differences))
    heads = ("class", stage.plan.baseline, *(f"Δ {arm}" for arm in arms))
    note = f"Mean IoU of the baseline and Δ of each arm; bold: adjusted p ≤ {ALPHA:g} (exploratory)."
    if len(arms) < len(stage.others):
        note += f" The first {len(arms)} of {len(stage.others)} arms by {metric}."
    return Table(f"{stage.plan.stage}-classes", f"{stage.title}: IoU by class", heads, tuple(rows), note=note)


def _leading(stage: StageResults, metric: str) -> list[str]:
    """The arms with a column of their own: all, or of many the first by a metric, in the order of the plan."""
    sign = 1 if stage.results.greater_is_better(metric) else -1
    paired = {arm: stage.differences(metric)[arm] for arm in stage.others}
    ranked = sorted(paired, key=lambda arm: -sign * paired[arm].difference if paired[arm].n else math.inf)
    return [arm for arm in stage.others if arm in ranked[:MOST_CLASS_COLUMNS]]
