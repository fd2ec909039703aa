"""What the user reads at the end: the best configuration against the reference trials, and where everything lies."""

from collections.abc import Mapping, Sequence
from math import nan
from statistics import fmean, stdev

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.store.flat_config import flatten
from orchestrator.store.ranking import block_values, ranked
from orchestrator.store.shared_epochs import shared_epochs
from orchestrator.store.stage_plan import Stage, StagePlan
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Objective, Study
from orchestrator.terminal.console import say
from orchestrator.terminal.formats import best_epoch, duration, figures_table, number, picks
from trainable.evaluate.metrics.best_epoch import best_epoch_label
from trainable.evaluate.metrics.efficacy import ADVICE, Efficacy, is_control
from trainable.evaluate.metrics.names import (
    CONTEXT_GAP,
    DROPPED_PROBABILITY,
    KEPT_PROBABILITY,
    MIOU,
    PIXEL_ACCURACY,
    RARE_MIOU,
    TRAIN_DROPPED,
)

COMPARED = (MIOU, RARE_MIOU, PIXEL_ACCURACY, CONTEXT_GAP)
"""Metrics that are shown besides the objectives."""
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
    results: Mapping[str, str | None],
) -> None:
    """Print the end of a launch of so many seconds; ``results`` say where what is to be seen, None: nowhere."""
    runs = [record for record in records if record.planned.kind != "prefix"]
    counts = ", ".join(f"{n} {state}" for state in State if (n := sum(record.state is state for record in runs)))
    say(console, f"\nStudy {study.spec.study}: {counts}; {duration(seconds)} in this launch")
    if shared := shared_epochs(records).line():
        say(console, f"prefixes: {shared}")
    _print_leaders(console, study, records, confirmed="confirm" in plans)
    for plan in plans.values():
        say(console, f"\n{plan.stage}: differences from {plan.baseline}, over pairs of equal seed")
        console.print(_arms(records, plan, study.spec.objectives[0]))
        if plan.chosen:
            say(console, f"path: {' -> '.join(plan.chosen)}")
    lame = _lame([*_leaders(study, records), *(r for r in records if r.planned.kind not in ("search", "imported"))])
    if lame:
        say(console, f"suppression hardly bites: {'; '.join(lame)}; {ADVICE}")
    for line in _out_of_memory(records):
        say(console, line)
    for record in records:
        if record.state is State.FAILED:
            remark = "; nothing is lost: its runs train these epochs themselves" * (record.planned.kind == "prefix")
            say(console, f"failed: {record.key}: {record.reason}{remark}")
    lines = {what: where for what, where in results.items() if where}
    width = max(map(len, lines), default=0)
    for what, where in lines.items():
        say(console, f"{what:<{width}}  {where}")


def _print_leaders(console: Console, study: Study, records: Sequence[Record], *, confirmed: bool) -> None:
    leaders = _leaders(study, records)
    references = [record for record in records if record.planned.kind == "reference"]
    if leaders or references:
        console.print(_comparison(study, leaders, references))
    for record in leaders:
        say(console, f"{record.key}: {picks(record.planned) or 'no domain: nothing was searched'}")
    if leaders and not confirmed:
        say(console, NO_EVIDENCE)


def _leaders(study: Study, records: Sequence[Record]) -> list[Record]:
    """The best trial of the search, or the Pareto front."""
    objectives = study.spec.objectives
    return ranked(records, objectives)[: None if len(objectives) > 1 else 1]


def _comparison(study: Study, leaders: Sequence[Record], references: Sequence[Record]) -> Table:
    """Metrics by trial: a row per trial on a Pareto front, else a column per trial."""
    trials = [*leaders, *references]
    figures = _figures(study.spec.objectives, trials)
    several = len(study.spec.objectives) > 1
    heads = [_head(record, "best: " if record in leaders and not several else "") for record in trials]
    names, cells = zip(*figures, strict=True)
    table = figures_table("Pareto front" if several else "", names if several else heads)
    for head, row in zip(heads, zip(*cells, strict=True), strict=True) if several else figures:
        table.add_row(head, *row)
    return table


def _figures(objectives: Sequence[Objective], trials: Sequence[Record]) -> list[tuple[str, list[str]]]:
    """What is shown of the trials, and a cell for each: objectives, each with its best epoch behind it, then others."""
    known = {metric for record in trials if record.epochs for metric in record.epochs[-1]}
    best = {
        objective.metric: (
            best_epoch_label(greater=objective.mode == "max"),
            [best_epoch(record.best_epoch(objective)) for record in trials],
        )
        for objective in objectives
    }
    figures: list[tuple[str, list[str]]] = []
    for metric in dict.fromkeys([*best, *(metric for metric in COMPARED if metric in known)]):
        figures.append((metric, [number(record.last(metric)) for record in trials]))
        figures += [best[metric]] if metric in best else []
    return figures


def _arms(records: Sequence[Record], plan: StagePlan, objective: Objective) -> Table:
    """A row per arm: mean and standard deviation over its seeds, mean difference over the pairs with the baseline.

    Then mean and difference of the runs' best epochs.
    """
    label = best_epoch_label(greater=objective.mode == "max")
    table = figures_table("arm", (objective.metric, "sd", "difference", "n", f"{label} (difference)"))
    values = block_values(records, plan, lambda record: record.last(objective.metric))
    best = block_values(records, plan, lambda record: record.best_value(objective))
    for name, runs in values.items():
        sd = stdev(runs.values()) if len(runs) > 1 else None
        difference, of_best = _difference(values, plan.baseline, name), _difference(best, plan.baseline, name)
        mean_of_best = number(_mean(best[name])) + (f" ({of_best})" if of_best != "-" else "")
        table.add_row(Text(name), number(_mean(runs)), number(sd), difference, str(len(runs)), mean_of_best)
    return table


def _mean(runs: Mapping[int, float]) -> float | None:
    return fmean(runs.values()) if runs else None


def _difference(values: Mapping[str, Mapping[int, float]], baseline: str, arm: str) -> str:
    """Mean over the pairs, with its sign; a dash for the baseline itself and where there is no pair."""
    runs, reference = values[arm], values[baseline]
    pairs = [runs[block] - reference[block] for block in runs if block in reference and arm != baseline]
    return f"{fmean(pairs):+.4f}" if pairs else "-"


def _lame(records: Sequence[Record]) -> list[str]:
    """Arms and trials whose drops hardly take anything away, with the figures; a control is not meant to."""
    groups: dict[str, list[Efficacy]] = {}
    for record in records:
        efficacy = _efficacy(record)
        if record.state is State.COMPLETE and efficacy is not None:
            groups.setdefault(record.planned.arm or record.key, []).append(efficacy)
    means = {name: mean for name, several in groups.items() if (mean := Efficacy.mean(several)) is not None}
    return [f"{n}, p(z) {mean.kept:.3f} -> {mean.dropped:.3f}" for n, mean in means.items() if not mean.bites]


def _out_of_memory(records: Sequence[Record]) -> list[str]:
    """Which trials met a GPU without memory and went on, by how."""
    then = {"shared": "run again alone on a GPU", "alone": "their activations computed again"}
    groups: dict[str, list[str]] = {}
    for record in records:
        if record.setbacks and record.state is not State.FAILED:
            last = record.setbacks[-1]
            how = "others held their memory, run again" if last.by_others else then.get(last.rung, "run again")
            groups.setdefault(how, []).append(record.key)
    return [f"out of GPU memory, {how}: {', '.join(keys)}" for how, keys in groups.items()]


def _efficacy(record: Record) -> Efficacy | None:
    control = is_control(flatten(record.planned.config).get)
    names = (KEPT_PROBABILITY, DROPPED_PROBABILITY, TRAIN_DROPPED)
    kept, dropped, shares = ([epoch.get(name, nan) for epoch in record.epochs] for name in names)
    return None if control else Efficacy.of(kept, dropped, shares)


def _head(record: Record, role: str) -> str:
    return role + (record.key if record.state is State.COMPLETE else f"{record.key} ({record.state})")
