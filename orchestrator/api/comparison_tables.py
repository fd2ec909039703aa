"""Two compared studies as data frames, as text of a terminal, Markdown, CSV and HTML."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.report.pages.escapes import escape_markdown
from orchestrator.report.pages.numbers import interval, number, probability, setting, signed

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.api.comparing import Row, StudyComparison

WIDTH = 80
"""Columns of the text where nobody says how many there are."""


@dataclass(frozen=True)
class TextTable:
    """A table whose cells are texts; the first column names the rows."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def comparison_frame(rows: "Sequence[Row]") -> "pd.DataFrame":
    """A row per configuration and metric."""
    import pandas as pd

    names = (
        "name", "metric", "first", "first_sd", "first_n", "second", "second_sd", "second_n", "how", "pairs",
        "difference", "low", "high", "p_nominal", "p_adjusted", "verdict",
    )  # fmt: skip
    known = [
        (
            row.name, row.metric, *_summary(row.first), *_summary(row.second), row.how, row.pairs, row.difference,
            row.low, row.high, row.p_nominal, row.p_adjusted, row.verdict,
        )
        for row in rows
    ]  # fmt: skip
    return pd.DataFrame(known, columns=list(names))


def settings_frame(differing: Mapping[str, tuple[object, object]]) -> "pd.DataFrame":
    """A row per setting."""
    import pandas as pd

    rows = [(name, *pair) for name, pair in differing.items()]
    return pd.DataFrame(rows, columns=["setting", "first", "second"])


def _summary(values: Mapping[int, float]) -> tuple[float | None, float | None, int]:
    own = list(values.values())
    return (fmean(own) if own else None), (stdev(own) if len(own) > 1 else None), len(own)


def tables_of(comparison: "StudyComparison") -> list[TextTable]:
    """What is shown of a comparison, the values first."""
    tables = [_values(comparison, metric) for metric in comparison.metrics]
    tables += [_differences(comparison, metric) for metric in comparison.metrics]
    settings = [(name, _written(a), _written(b)) for name, (a, b) in comparison.differing.items()]
    tables.append(TextTable("Settings in which the study files differ", ("setting", "A", "B"), tuple(settings)))
    return [table for table in tables if table.rows]


def _written(value: object) -> str:
    """A setting; the bounds of a range and the options of a choice as the file writes them."""
    return value if isinstance(value, str) and value.startswith("[") else setting(value)


def head_of(comparison: "StudyComparison") -> list[str]:
    """Which studies are compared, and what has to be known of it, a line each."""
    studies = {"A": comparison.first, "B": comparison.second}
    lines = [
        f"{letter}  {study.address}: {len(study.records)} trials, "
        f"{sum(trial.complete for trial in study.records)} complete"
        for letter, study in studies.items()
    ]
    return lines + [f"warning: {warning}" for warning in comparison.warnings]


def _values(comparison: "StudyComparison", metric: str) -> TextTable:
    better = "larger" if comparison.first._results.greater_is_better(metric) else "smaller"
    rows = [
        (_label(row, comparison), *_spread(row.first), *_spread(row.second))
        for row in comparison.rows
        if row.metric == metric
    ]
    title = f"{metric}, last epoch ({better} is better): mean over seeds ± standard deviation"
    return TextTable(title, ("", "A", "n", "B", "n"), tuple(rows))


def _differences(comparison: "StudyComparison", metric: str) -> TextTable:
    rows = [
        (
            row.name,
            f"paired, {row.pairs}" if row.how == "paired" else row.how,
            f"{signed(row.difference)} {interval(row.low, row.high) if row.low is not None else ''}".strip(),
            probability(row.p_nominal), probability(row.p_adjusted), row.verdict,
        )
        for row in comparison.rows
        if row.metric == metric and row.difference is not None
    ]  # fmt: skip
    title = f"{metric}: B − A with 95 % interval; p alone, and adjusted for all rows (Holm)"
    return TextTable(title, ("", "seeds", "B − A", "p", "adjusted", "B is"), tuple(rows))


def _label(row: "Row", comparison: "StudyComparison") -> str:
    if not row.name.startswith("best"):
        return row.name
    keys = [study.best.key if study.best else "–" for study in (comparison.first, comparison.second)]
    return f"{row.name} ({keys[0]}; {keys[1]})"


def _spread(values: Mapping[int, float]) -> tuple[str, str]:
    mean, sd, n = _summary(values)
    return (number(mean) if sd is None else f"{number(mean)} ± {number(sd)}"), str(n or "")


def as_text(comparison: "StudyComparison", width: int = WIDTH) -> str:
    """Plain text, no line wider than ``width``."""
    stream = StringIO()
    console = Console(file=stream, width=width, color_system=None, force_jupyter=False)
    for line in head_of(comparison):
        console.print(Text(line), soft_wrap=False)
    console.print()
    for table in tables_of(comparison):
        console.print(Text(table.title))
        console.print(_rich(table))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def _rich(table: TextTable) -> Table:
    drawn = Table(box=SIMPLE, pad_edge=False)
    words = len(table.heads) if table.heads[0] == "setting" else 1
    for place, head in enumerate(table.heads):
        drawn.add_column(head, justify="left" if place < words else "right", overflow="fold")
    for row in table.rows:
        drawn.add_row(*map(Text, row))
    return drawn


def as_markdown(comparison: "StudyComparison") -> str:
    """GitHub's dialect."""
    lines = [f"- {escape_markdown(line)}" for line in head_of(comparison)]
    for table in tables_of(comparison):
        lines += ["", f"**{escape_markdown(table.title)}**", "", _line(table.heads)]
        lines += [_line(["---"] * len(table.heads)), *map(_line, table.rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell if cell == '---' else escape_markdown(cell) for cell in cells)} |"


def as_html(comparison: "StudyComparison") -> str:
    """For notebooks; every text escaped."""
    parts = [f"<div>{html.escape(line)}</div>" for line in head_of(comparison)]
    parts += [html_table(table) for table in tables_of(comparison)]
    return "".join(parts)


def html_table(table: TextTable) -> str:
    """A table; every text escaped."""
    heads = "".join(f"<th>{html.escape(head)}</th>" for head in table.heads)
    rows = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    return f"<table><caption>{html.escape(table.title)}</caption><tr>{heads}</tr>{rows}</table>"
