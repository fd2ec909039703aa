"""What the user reads at the end: the best configuration against the reference trials, and where everything lies."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.store.flat_config import short
from orchestrator.store.ranking import best, block_values, pareto_front
from orchestrator.store.stage_plan import Stage, StagePlan
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Study
from orchestrator.terminal.console import say
from orchestrator.terminal.formats import duration
from trainable.evaluate.metrics.names import CONTEXT_GAP, MIOU, PIXEL_ACCURACY, RARE_MIOU

SHOWN = (MIOU, RARE_MIOU, PIXEL_ACCURACY, CONTEXT_GAP)
"""What is compared besides the objectives."""
NO_EVIDENCE = (
    "One seed per configuration: no evidence. The winner was picked for its score and differences between seeds can be "
    "as large; repeat the winner and the references on fresh seeds before you believe it."
)


def print_summary(
    console: Console,
    study: Study,
    records: Sequence[Record],
    plans: Mapping[Stage, StagePlan],
    *,
    seconds: float,
    places: Mapping[str, str],
) -> None:
    """Print the end of a study.

    Args:
        console: Where to.
        study: The study.
        records: All its trials.
        plans: Its comparing stages that have begun.
        seconds: Wall time of this launch.
        places: Where things lie, by what they are.
    """
    counts = ", ".join(
        f"{count} {state}" for state in State if (count := sum(record.state is state for record in records))
    )
    say(console, f"\nStudy {study.spec.study}: {counts}; {duration(seconds)} in this launch")
    leaders = _leaders(study, records)
    references = [record for record in records if record.planned.kind == "reference"]
    if leaders or references:
        console.print(_comparison(study, leaders, references))
    for record in leaders:
        say(console, f"{record.key}: {_picks(record)}")
    if leaders and "confirm" not in plans:
        say(console, NO_EVIDENCE)
    for plan in plans.values():
        say(console, f"\n{plan.stage}: differences from {plan.baseline}, over pairs of equal seed")
        console.print(_arms(records, plan, study.spec.objectives[0].metric))
        if plan.chosen:
            say(console, f"path: {' -> '.join(plan.chosen)}")
    for record in records:
        if record.state is State.FAILED:
            say(console, f"failed: {record.key}: {record.reason}")
    width = max(map(len, places), default=0)
    for what, where in places.items():
        say(console, f"{what:<{width}}  {where}")


def _leaders(study: Study, records: Sequence[Record]) -> list[Record]:
    """The best trial, or the Pareto front of several objectives."""
    objectives = study.spec.objectives
    if len(objectives) > 1:
        return pareto_front(records, objectives)
    top = best(records, objectives[0])
    return [top] if top else []


def _comparison(study: Study, leaders: Sequence[Record], references: Sequence[Record]) -> Table:
    """Metrics by trial: a row per trial on a Pareto front, else a column per trial."""
    objectives = [objective.metric for objective in study.spec.objectives]
    shown = [*leaders, *references]
    known = {metric for record in shown if record.epochs for metric in record.epochs[-1]}
    metrics = list(dict.fromkeys([*objectives, *(metric for metric in SHOWN if metric in known)]))
    several = len(objectives) > 1
    heads = [_head(record, "best: " if record in leaders and not several else "") for record in shown]
    cells = [[_number(record.last(metric)) for metric in metrics] for record in shown]
    table = Table("Pareto front" if several else "", box=SIMPLE, pad_edge=False)
    for head in metrics if several else heads:
        table.add_column(head, justify="right", overflow="fold")
    rows = zip(heads, cells, strict=True) if several else zip(metrics, zip(*cells, strict=True), strict=True)
    for head, row in rows:
        table.add_row(head, *row)
    return table


def _arms(records: Sequence[Record], plan: StagePlan, metric: str) -> Table:
    """A row per arm: mean and standard deviation over its seeds, mean difference over the pairs with the baseline."""
    table = Table("arm", box=SIMPLE, pad_edge=False)
    for head in (metric, "sd", "difference", "n"):
        table.add_column(head, justify="right")
    values = block_values(records, plan, metric)
    reference = values[plan.baseline]
    for name, runs in values.items():
        pairs = [runs[block] - reference[block] for block in runs if block in reference and name != plan.baseline]
        mean, difference = fmean(runs.values()) if runs else None, f"{fmean(pairs):+.4f}" if pairs else "-"
        sd = stdev(runs.values()) if len(runs) > 1 else None
        table.add_row(Text(name), _number(mean), _number(sd), difference, str(len(runs)))
    return table


def _head(record: Record, role: str) -> str:
    return role + (record.key if record.state is State.COMPLETE else f"{record.key} ({record.state})")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _picks(record: Record) -> str:
    picks = record.planned.picks or {}
    return ", ".join(f"{name}={short(value)}" for name, value in picks.items()) or "no domain: nothing was searched"
