"""A study in a notebook: its answer, how far it is, its best trial and references or its arms; every text escaped."""

import html
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from orchestrator.errors import InputError
from orchestrator.report.pages.numbers import count, interval, number, probability, signed
from orchestrator.store.short_picks import short_picks
from orchestrator.store.trial_record import State
from trainable.evaluate.metrics.best_epoch import best_epoch_label

if TYPE_CHECKING:
    from orchestrator.api.study import Study

MOST_ROWS = 20


def study_html(study: "Study") -> str:
    """The page of a study as a notebook shows it."""
    counts = ", ".join(f"{n} {state}" for state in State if (n := sum(t.state is state for t in study.records)))
    running = "; a launch is at work" if study.running else ""
    parts = [f"<b>Study {html.escape(study.name)}</b> ({html.escape(counts or 'no trials yet')}{running})"]
    parts += [f"<div>{html.escape(line)}</div>" for line in (*_answers(study), *study.warnings)]
    parts += [_trials(study), *(_arms(study, stage) for stage in study.plans)]
    parts.append(f"<div><small>{html.escape(study.address)}</small></div>")
    return "".join(parts)


def _answers(study: "Study") -> Sequence[str]:
    try:
        return study.answer.splitlines()
    except InputError as error:
        return [str(error)]


def _trials(study: "Study") -> str:
    """The best of the search, or the Pareto front, and the references."""
    front = study.front if len(study.objectives) > 1 else [study.best] if study.best else []
    trials = [*front, *(trial for trial in study.records if trial.kind == "reference")]
    if not trials:
        return ""
    labels = [f"{o.metric}, {best_epoch_label(greater=o.mode == 'max')}" for o in study.objectives]
    heads = ("trial", *(o.metric for o in study.objectives), *labels, "picks")
    rows = []
    for trial in trials[:MOST_ROWS]:
        epochs = [trial.best_epoch_of(objective) for objective in study.objectives]
        best = [number(epoch.value if epoch else None) for epoch in epochs]
        last = [number(trial.metrics.get(objective.metric)) for objective in study.objectives]
        rows.append((trial.key, *last, *best, short_picks(trial.picks)))
    return _table("Last epoch's values", heads, rows, left_out=len(trials) - MOST_ROWS)


def _arms(study: "Study", stage: str) -> str:
    """The arms of a comparison, each with its paired difference from the baseline."""
    from orchestrator.report.sections.comparison_results import StageResults, verdict  # late: statsmodels

    results = next(StageResults(study._results, plan) for plan in study.plans.values() if plan.stage == stage)
    metric = study.objectives[0].metric
    values, differences = results.values(metric), results.differences(metric)
    rows = []
    for arm in results.arms[:MOST_ROWS]:
        own, paired = list(values[arm.name].values()), differences.get(arm.name)
        cells = ("", "", "", "baseline")
        if paired is not None:
            cells = (
                signed(paired.difference), interval(paired.low, paired.high), probability(paired.p_adjusted),
                verdict(paired),
            )  # fmt: skip
        rows.append((arm.name, number(fmean(own) if own else None), str(len(own)), *cells))
    heads = ("arm", metric, "seeds", "difference", "95 %", "adjusted p", "verdict")
    title = f"{results.title}: {count(len(results.blocks), 'seed')}, paired"
    return _table(title, heads, rows, left_out=len(results.arms) - MOST_ROWS)


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], *, left_out: int) -> str:
    head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(text)}</td>' for text in row)}</tr>" for row in rows)
    more = f"<div><small>and {left_out} more</small></div>" if left_out > 0 else ""
    return f"<table><caption>{html.escape(title)}</caption><tr>{head}</tr>{body}</table>{more}"
