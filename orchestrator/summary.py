"""What the user reads at the end: the best configuration against the reference trials, and where everything lies."""

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from orchestrator.display import duration
from orchestrator.flat import short
from orchestrator.records import Record, State
from orchestrator.results import best, pareto_front
from orchestrator.spec import Study
from trainable.metrics.names import CONTEXT_GAP, MIOU, PIXEL_ACCURACY, RARE_MIOU

NO_EVIDENCE = (
    "One seed per configuration: no evidence. The winner was picked for its score and differences between seeds can be "
    "as large; repeat the winner and the references on fresh seeds before you believe it."
)


def print_summary(
    console: Console, study: Study, records: Sequence[Record], *, seconds: float, places: Mapping[str, str]
) -> None:
    """Print the end of a study.

    Args:
        console: Where to.
        study: The study.
        records: All its trials.
        seconds: Wall time of this launch.
        places: Where things lie, by what they are.
    """
    counts = ", ".join(
        f"{count} {state}" for state in State if (count := sum(record.state is state for record in records))
    )
    _say(console, f"\nStudy {study.spec.study}: {counts}; {duration(seconds)} in this launch")
    leaders = _leaders(study, records)
    references = [record for record in records if record.planned.kind == "reference"]
    if leaders or references:
        console.print(_comparison(study, leaders, references))
    for record in leaders:
        _say(console, f"{record.key}: {_picks(record)}")
    if leaders:
        _say(console, NO_EVIDENCE)
    for record in records:
        if record.state is State.FAILED:
            _say(console, f"failed: {record.key}: {record.reason}")
    width = max(map(len, places))
    for what, where in places.items():
        _say(console, f"{what:<{width}}  {where}")


def _leaders(study: Study, records: Sequence[Record]) -> list[Record]:
    """The best trial, or the Pareto front of several objectives."""
    objectives = study.spec.objectives
    if len(objectives) > 1:
        return pareto_front(records, objectives)
    top = best(records, objectives[0])
    return [top] if top else []


def _comparison(study: Study, leaders: Sequence[Record], references: Sequence[Record]) -> Table:
    objectives = [objective.metric for objective in study.spec.objectives]
    shown = [record for record in (*leaders, *references) if record.epochs]
    extra = [m for m in (MIOU, RARE_MIOU, PIXEL_ACCURACY, CONTEXT_GAP) if any(m in r.epochs[-1] for r in shown)]
    metrics = list(dict.fromkeys([*objectives, *extra]))
    table = Table("", "trial", box=SIMPLE, pad_edge=False)
    for metric in metrics:
        table.add_column(metric, justify="right", no_wrap=True)
    role = "best" if len(objectives) == 1 else "Pareto front"
    for record in leaders:
        table.add_row(role, record.key, *(_number(record.last(metric)) for metric in metrics))
    for record in references:
        state = "" if record.state is State.COMPLETE else f" ({record.state})"
        table.add_row("reference", f"{record.key}{state}", *(_number(record.last(metric)) for metric in metrics))
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _picks(record: Record) -> str:
    picks = record.planned.picks or {}
    return ", ".join(f"{name}={short(value)}" for name, value in picks.items()) or "no domain: nothing was searched"


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
