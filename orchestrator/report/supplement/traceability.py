"""From every number of a report to the table: which columns, which rows, which runs."""

from collections.abc import Iterator, Sequence

from orchestrator.report.answers import short_answers
from orchestrator.report.pages.document import Document, Photograph, Picture, Table, slug
from orchestrator.report.sections.comparison_results import StageResults, stages_of
from orchestrator.report.source import Results
from orchestrator.report.statistics.paired import PairedDifference
from orchestrator.store import layout
from orchestrator.store.results_table import PARAM, PICK
from orchestrator.store.stage_plan import STAGES
from trainable.evaluate.metrics.names import (
    CHANNEL_PURITY,
    CONTEXT_PREFIX,
    DROPPED_PROBABILITY,
    IOU_PREFIX,
    KEPT_PROBABILITY,
    PURITY_ABOVE_CHANCE,
    TRAIN_DROPPED,
    WEIGHT_COSINES,
)

Rows = tuple[Sequence[str], list[Sequence[object]]]
"""Heads, and what stands below them."""
_EFFICACY = (CHANNEL_PURITY, PURITY_ABOVE_CHANCE, KEPT_PROBABILITY, DROPPED_PROBABILITY, TRAIN_DROPPED)
_OF_ALL = ("overview", "means", "forest", "best", "top")
"""Blocks of all reported metrics."""
_VARY = ("importance", "parallel", "slices", "options")
_ARTIFACTS = {
    "predictions": layout.LAST_PICTURE,
    "gradcam": layout.GRADCAM,
    "reliability": layout.TrialFiles("KEY").calibration.rpartition("/")[2],
}
"""Blocks that are of a file of each run."""


def numbers(document: Document) -> Rows:
    """Every cell of every table, as it is printed."""
    rows: list[Sequence[object]] = []
    for table in document.tables:
        for number, row in enumerate(table.rows, start=1):
            rows += [
                (table.name, number, row[0].text, head, cell.text) for head, cell in zip(table.heads, row, strict=True)
            ]
    return ("table", "row", "first cell", "column", "printed"), rows


def statistics(results: Results, metrics: Sequence[str]) -> Rows:
    """Every paired difference, with all its digits and the runs that it is of."""
    heads = (
        "stage", "metric", "arm", "baseline", "n", "mean of the arm", "mean of the baseline", "difference",
        "low", "high", "p", "p adjusted (Holm)", "share of seeds where it is better", "runs of the arm",
        "runs of the baseline",
    )  # fmt: skip
    rows: list[Sequence[object]] = []
    for stage in stages_of(results).values():
        for metric in metrics:
            paired = stage.differences(metric).values()
            rows += [(stage.plan.stage, metric, *_figures(one), *_runs(stage, one)) for one in paired]
    return heads, rows


def _figures(one: PairedDifference) -> tuple[object, ...]:
    means = (one.arm_mean, one.baseline_mean, one.difference) if one.n else (None, None, None)
    return (one.arm, one.baseline, one.n, *means, one.low, one.high, one.p, one.p_adjusted, one.improvement)


def _runs(stage: StageResults, one: PairedDifference) -> tuple[str, str]:
    """Keys of the paired runs, in the order of the seeds."""
    blocks = [block for block in stage.blocks if block not in one.missing]
    of_arm, of_baseline = (" ".join(stage.runs[name, b].key for b in blocks) for name in (one.arm, one.baseline))
    return of_arm, of_baseline


def sources(results: Results, document: Document, metrics: Sequence[str]) -> Rows:
    """For every sentence of the answer, table and figure: columns and rows of the table, or files of runs."""
    heads = ("kind", "name", "what", "columns", "rows", "files")
    rows: list[Sequence[object]] = [
        ("sentence", "answer", line, " ".join(results.objective_metrics), "complete runs, last epoch", "")
        for line in short_answers(results)
    ]
    for block in document.blocks:
        if isinstance(block, Table | Picture | Photograph):
            kind = "table" if isinstance(block, Table) else "figure"
            rows.append((kind, block.name, block.caption, *_source(results, block.name, metrics)))
    return heads, rows


def _source(results: Results, name: str, metrics: Sequence[str]) -> tuple[str, str, str]:
    """Columns, rows and files that a block is of, by its name: ``<stage>-<what>`` and, of one metric, its slug."""
    stage, _, what = name.partition("-")
    if stage not in ("search", *STAGES):
        return f"{PARAM}*" if name == "setup" else "", "all runs", f"{layout.STUDY} {layout.LAUNCHES}"
    kinds = "search, imported and reference" if stage == "search" else stage
    which = "every epoch" if what.startswith(("curves", "purity", "best-epoch")) else "last epoch"
    rows = f"kind {kinds}, state complete, {which}"
    if (artifact := next((file for word, file in _ARTIFACTS.items() if what.startswith(word)), None)) is not None:
        return "", rows, f"{layout.TrialFiles('*').artifacts}/{artifact}"
    return " ".join(_columns(results, what, metrics)), rows, ""


def _columns(results: Results, what: str, metrics: Sequence[str]) -> Iterator[str]:
    first = what.split("-")[0]
    if first == "classes":
        yield from (metric for metric in results.metrics if metric.startswith(IOU_PREFIX))
    elif first in ("efficacy", "purity"):
        yield from (metric for metric in _EFFICACY if metric in results.metrics)
    elif first == "cosines":
        yield from (metric for metric in WEIGHT_COSINES if metric in results.metrics)
    elif first == "context":
        yield from (metric for metric in results.metrics if metric.startswith(CONTEXT_PREFIX))
    elif first in ("settings", "picks"):
        yield f"{PICK}*" if first == "picks" else f"{PARAM}*"
    else:
        named = [metric for metric in results.metrics if what == slug(metric) or what.endswith(f"-{slug(metric)}")]
        yield from [max(named, key=len)] if named and first not in _OF_ALL else metrics
        if first in (*_VARY, "top"):
            yield f"{PICK}*"
