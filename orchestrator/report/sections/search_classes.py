"""IoU by class in a search: the best beside the references, rare classes marked."""

from collections.abc import Iterator, Sequence

from orchestrator.report.pages.document import Block, Heading, Table, cells
from orchestrator.report.pages.numbers import number, signed
from orchestrator.report.source import Results, Run
from orchestrator.store.trial_record import reference_name
from trainable.evaluate.metrics.names import IOU_PREFIX

MOST_BEST = 3
"""Configurations of a Pareto front that have a column."""


def search_class_blocks(results: Results, front: Sequence[Run], references: Sequence[Run]) -> Iterator[Block]:
    """A row per class; nothing where there are not two classes with an IoU."""
    best = list(front[:MOST_BEST])
    metrics = [m for m in results.metrics if m.startswith(IOU_PREFIX) and any(_has(results, run, m) for run in best)]
    if len(metrics) < 2:
        return
    baseline = next((run for run in references if run.key.endswith("-plain")), references[0] if references else None)
    rows = []
    for metric in metrics:
        name = metric.removeprefix(IOU_PREFIX)
        values = [number(results.last(run, metric)) for run in (*references, *best)]
        gains = [_difference(results, run, baseline, metric) for run in best] if baseline else []
        rows.append(cells((f"{name} (rare)" if name in (results.rare or ()) else name, *values, *gains)))
    short = [reference_name(run.key) for run in (*references, *best)]
    to = reference_name(baseline.key) if baseline else ""
    heads = ("class", *short, *(f"Δ {run.key} to {to}" for run in best if baseline))
    note = "IoU of the last epoch, one seed each: the differences are no evidence. " + _rarity(results)
    yield Heading("Classes in the search", level=3)
    yield Table("search-classes", "Search: IoU by class, the best beside the references", heads, tuple(rows), note=note)


def _rarity(results: Results) -> str:
    if results.rare is None:
        return "Which classes are rare was not kept when this study was launched."
    return "Rare: under 2 % of the training pixels." if results.rare else "No class is rare."


def _has(results: Results, run: Run, metric: str) -> bool:
    return results.last(run, metric) is not None


def _difference(results: Results, run: Run, baseline: Run, metric: str) -> str:
    own, other = results.last(run, metric), results.last(baseline, metric)
    return signed(None if own is None or other is None else own - other)
