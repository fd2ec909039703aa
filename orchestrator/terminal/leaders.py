"""The best trials of a search beside the references, as tables."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from orchestrator.store.flat_config import short
from orchestrator.store.ranking import ranked
from orchestrator.store.trial_record import Record, State, reference_name
from orchestrator.studyfile import Objective
from orchestrator.terminal.beside import arrow, between
from orchestrator.terminal.formats import best_epoch, figures_table, folded, number, reference_in_words
from trainable.evaluate.metrics.best_epoch import best_epoch_label
from trainable.evaluate.metrics.names import CONTEXT_GAP, MIOU, PIXEL_ACCURACY, RARE_MIOU, greater_is_better

COMPARED = (MIOU, RARE_MIOU, PIXEL_ACCURACY, CONTEXT_GAP)
"""Metrics that are shown besides the objectives."""
JUDGED = (MIOU, RARE_MIOU)
"""Those in which a loss is the price of a gain: the difference stands below them too."""
MINUS = "best minus this"
NAME, COLUMN, WIDE_COLUMN = 16, 14, 17
"""Columns of a metric's name at least, of a trial's values, and of those where a difference has one line."""
LONGEST_NAME = 30
"""Columns that the name of a metric takes on a wide terminal."""


def leaders_of(records: Sequence[Record], objectives: Sequence[Objective]) -> list[Record]:
    """The best trial of the search, or the Pareto front."""
    return ranked(records, objectives)[: None if len(objectives) > 1 else 1]


def references_of(records: Sequence[Record]) -> list[Record]:
    """The reference trials, in order."""
    return [record for record in records if record.planned.kind == "reference"]


def leaders_table(
    objectives: Sequence[Objective], leaders: Sequence[Record], references: Sequence[Record], width: int
) -> Table:
    """Metrics by trial: a row per trial on a Pareto front, else a column per trial; names fit ``width`` columns."""
    trials = [*leaders, *references]
    several = len(objectives) > 1
    figures = _figures(objectives, trials, None if several or not leaders else leaders[0])
    roomy = width >= LONGEST_NAME + WIDE_COLUMN * len(trials)
    best = "best: " if roomy else "best:\n"
    heads = [_head(record, best if record in leaders and not several else "") for record in trials]
    if several:
        figures = [(folded(name, NAME) if "/" in name else name, row) for name, row in figures]
    elif not roomy:
        room = max(NAME, width - COLUMN * len(trials) - 2)
        figures = [(folded(name, room), [_narrow(cell) for cell in row]) for name, row in figures]
    names, cells = zip(*figures, strict=True)
    table = figures_table("Pareto front" if several else "", names if several else heads)
    for head, row in zip(heads, zip(*cells, strict=True), strict=True) if several else figures:
        table.add_row(head, *row)
    table.caption = "↑ higher is better, ↓ lower is better, @2: in epoch 2"
    table.caption_justify = "left"
    return table


def _narrow(cell: str | Text) -> str | Text:
    """A cell with its word below its number."""
    return Text("\n", style=cell.style).join(cell.split(" ")) if isinstance(cell, Text) else cell


def picks_table(record: Record) -> Table | None:
    """What was picked for a trial, a line each; None where nothing was."""
    picks = record.planned.picks
    if not picks:
        return None
    table = Table.grid(padding=(0, 2))
    for name, value in picks.items():
        table.add_row(f"  {name}", Text(short(value)))
    return table


def references_in_words(references: Sequence[Record]) -> list[str]:
    """What each reference is, for whoever does not know its name."""
    return [f"{_name(record)}: {words}" for record in references if (words := reference_in_words(record.key))]


def _figures(
    objectives: Sequence[Objective], trials: Sequence[Record], top: Record | None
) -> list[tuple[str, list[str | Text]]]:
    """What is shown, and a cell for each trial: metrics, by how much the best one beats it, best epochs."""
    known = {metric for record in trials if record.epochs for metric in record.epochs[-1]}
    own = {objective.metric: objective for objective in objectives}
    figures: list[tuple[str, list[str | Text]]] = []
    for metric in dict.fromkeys([*own, *(metric for metric in COMPARED if metric in known)]):
        objective = own.get(metric) or Objective(metric=metric, mode="max" if greater_is_better(metric) else "min")
        figures.append((f"{metric} {arrow(objective)}", [number(record.last(metric)) for record in trials]))
        if top is not None and len(trials) > 1 and (metric in own or metric in JUDGED):
            figures.append((MINUS, [_gain(top, record, objective) for record in trials]))
        if metric in own:
            label = best_epoch_label(greater=objective.mode == "max")
            figures.append((label, [best_epoch(record.best_epoch(objective)) for record in trials]))
    return figures


def _gain(top: Record, record: Record, objective: Objective) -> str | Text:
    value, other = top.last(objective.metric), record.last(objective.metric)
    if record is top or value is None or other is None or record.state is not State.COMPLETE:
        return ""
    return between(value, other, objective).text


def _head(record: Record, role: str) -> str:
    name = role + _name(record)
    return name if record.state is State.COMPLETE else f"{name} ({record.state})"


def _name(record: Record) -> str:
    """A reference by its preset, another trial by its key."""
    return reference_name(record.key) if record.planned.kind == "reference" else record.key
