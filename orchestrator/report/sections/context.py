"""How much classes rely on each other as context, arm beside baseline; or why nothing of it is known.

The measurement is ``trainable.evaluate.context`` (Shetty, Schiele, Fritz, CVPR 2019, arXiv 1812.06707).
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import numpy as np

from orchestrator.report.charts.class_matrices import ClassMatrices
from orchestrator.report.pages.document import Block, Cell, Heading, Paragraph, Picture, Table, cells
from orchestrator.report.pages.numbers import count, listed, mean, signed
from orchestrator.report.sections.comparison_results import StageResults
from orchestrator.store.artifacts import ContextReliance
from trainable.evaluate.metrics.names import CONTEXT_RELIANCE, context_name

SETTING = "evaluation.context"
"""Asks for the measurement."""
Kept = Mapping[int, ContextReliance]
"""What the complete runs of an arm have kept, by block."""


def context_blocks(stage: StageResults) -> Iterator[Block]:
    """What the other classes lose where one is erased; a sentence where that was asked for and is not there."""
    if not _asked_for(stage):
        return
    yield Heading(f"Reliance on context in the {stage.noun}", level=3)
    reason = why_left_out(stage)
    if reason is not None:
        yield Paragraph(reason)
        return
    yield Paragraph(
        "Each class is erased in turn from frames of the evaluation split; what counts is the IoU that each other "
        "class loses on the pixels that were not erased. Positive: it is recognised by the class that was erased. "
        "Erasing also spoils a frame for every network, so compare arms, not single values; and a class that is hardly "
        "recognised has little to lose, so read it beside the class IoUs. Exploratory, without tests; those of "
        f"{CONTEXT_RELIANCE} stand among the metrics."
    )
    kept = {arm.name: _kept(stage, arm.name) for arm in stage.arms}
    yield from _table(stage, kept)
    yield from _maps(stage, kept)


def _asked_for(stage: StageResults) -> bool:
    """Whether some complete run was to measure it."""
    runs = [run for arm in stage.arms for run in stage.complete(arm.name)]
    return any(stage.results.setting(run, f"{SETTING}.frames") is not None for run in runs)


def why_left_out(stage: StageResults) -> str | None:
    """Why there is nothing to show where it was asked for; None where there is."""
    baseline = stage.plan.baseline
    measured = [name for name, of_blocks in stage.values(CONTEXT_RELIANCE).items() if of_blocks]
    if not measured:
        return f"Left out: {SETTING} is set, but no two classes meet in a frame that was erased."
    if baseline not in measured or len(measured) < 2:
        return f"Left out: only {listed(measured)} has a measurement; a comparison needs {baseline} and another arm."
    return None


def _table(stage: StageResults, kept: Mapping[str, Kept]) -> Iterator[Block]:
    """A row for each class that is erased."""
    names = dict.fromkeys(chain.from_iterable(one.classes for of_arm in kept.values() for one in of_arm.values()))
    rows = []
    for name in names:
        metric = context_name(name)
        if any(stage.values(metric).values()):
            own = list(stage.values(metric)[stage.plan.baseline].values())
            differences = [signed(stage.differences(metric)[arm].difference) for arm in stage.others]
            rows.append((Cell(stage.class_label(name)), *cells((mean(own), *differences))))
    if rows:
        heads = ("class erased", stage.plan.baseline, *(f"Δ {arm}" for arm in stage.others))
        note = "Mean over the other classes that meet it, over seeds; Δ within seeds. Negative Δ: less reliance."
        caption = f"{stage.title}: IoU that the other classes lose"
        yield Table(f"{stage.plan.stage}-context", caption, heads, tuple(rows), note=note)


def _maps(stage: StageResults, kept: Mapping[str, Kept]) -> Iterator[Block]:
    baseline = stage.plan.baseline
    if len(stage.pictured) < len(stage.others):
        yield Paragraph(f"Pictures show the first {len(stage.pictured)} of {len(stage.others)} arms.")
    for number, arm in enumerate(stage.pictured):
        of_arm, of_baseline = kept[arm], kept[baseline]
        shared = [b for b in of_arm if b in of_baseline and of_arm[b].classes == of_baseline[b].classes]
        if not shared:
            continue
        first = of_baseline[shared[0]]
        means = [_mean([one[b] for b in shared]) for one in (of_baseline, of_arm)]
        labels = ("class that loses", "class erased")
        maps = ClassMatrices("IoU lost", first.classes, first.rare, baseline, means[0], arm, means[1], labels)
        caption = (
            f"{stage.title}: IoU that each class (columns) loses where another one (rows) is erased, in {baseline} and "
            f"{arm} after the last epoch, and their difference; mean over {count(len(shared), 'seed')}; grey: they "
            "never meet, or the row was not erased; * and bold: rare."
        )
        yield Picture(f"{stage.plan.stage}-context-{number + 1}", caption, maps.draw)


def _mean(several: Sequence[ContextReliance]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Entry by entry; NaN where one has none."""
    matrices = np.array([one.matrix for one in several], dtype=np.float64)
    return np.asarray(matrices.mean(axis=0))


def _kept(stage: StageResults, arm: str) -> Kept:
    of_runs = {run.block: stage.results.reliance(run) for run in stage.complete(arm)}
    return {block: one for block, one in of_runs.items() if block is not None and one is not None}
