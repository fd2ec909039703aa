"""The section of a search: how it went, what the scores vary with, the best configuration beside the references."""

from collections.abc import Iterator, Sequence
from functools import partial

from orchestrator.report.charts.search_charts import history, pareto
from orchestrator.report.pages.document import Block, Bullets, Cell, Heading, Paragraph, Picture, Table, cells, slug
from orchestrator.report.pages.numbers import NOTHING, count, number, setting
from orchestrator.report.sections.efficacy import efficacy_blocks
from orchestrator.report.sections.limits import search_limits
from orchestrator.report.sections.predictions import prediction_blocks, seen_runs
from orchestrator.report.sections.reliability import reliability_blocks
from orchestrator.report.sections.search_classes import search_class_blocks
from orchestrator.report.sections.searched_settings import Knobs, read_knobs
from orchestrator.report.sections.setting_blocks import varies_with_blocks
from orchestrator.report.source import Results, Run
from orchestrator.store import layout
from orchestrator.store.ranking import undominated
from orchestrator.store.short_picks import short_picks
from orchestrator.studyfile.space.trees import value_at

MOST_FRONT, MOST_PICKS = 20, 6
"""Configurations of a Pareto front whose scores and whose picks are listed."""
MOST_TOP = 10
"""Trials in the table of the best ones."""


def search_blocks(results: Results, metrics: Sequence[str]) -> Iterator[Block]:
    """Everything about the search."""
    trials = results.runs("imported", "search")
    objectives = results.objective_metrics
    complete = [t for t in trials if t.complete and all(results.last(t, metric) is not None for metric in objectives)]
    knobs = read_knobs(results, trials)
    yield Heading("Search")
    yield Paragraph(_how_it_went(results, trials, complete))
    if not complete:
        yield Paragraph("No trial of the search was trained to its end: there is nothing to show.", warning=True)
        return
    front = _front(results, complete)
    yield from _best(results, knobs, front, metrics)
    yield from _top(results, complete)
    references = [run for run in results.runs("reference") if run.complete]
    yield from prediction_blocks(results, "search", "Search", seen_runs(references, front))
    yield from search_class_blocks(results, front, references)
    yield from reliability_blocks(results, "search", "Search", {run.key: [run] for run in [*references, *front[:2]]})
    yield from _scores_of_trials(results, trials, complete, front)
    for metric in objectives:
        yield from varies_with_blocks(results, knobs, complete, metric)
    leaders = [*front[:MOST_PICKS], *references]
    yield from efficacy_blocks(results, "search", "Search", {run.key: [run] for run in leaders})
    yield Heading("Limits of the search", level=3)
    yield Bullets(tuple(search_limits(results, complete)))


def _how_it_went(results: Results, trials: Sequence[Run], complete: Sequence[Run]) -> str:
    name = value_at(results.specification, "search.sampler.name") or "?"
    goals = " and ".join(
        f"{o.metric} ({'larger' if o.mode == 'max' else 'smaller'} is better)" for o in results.objectives
    )
    imported = sum(trial.kind == "imported" for trial in trials)
    also = f", {imported} of them imported from other studies" if imported else ""
    return (
        f"Sampler {name}; objective {goals}, the last epoch's value. {count(len(trials), 'trial')}{also}; "
        f"{len(complete)} were trained to their end. One seed per configuration."
    )


def _best(results: Results, knobs: Knobs, front: Sequence[Run], metrics: Sequence[str]) -> Iterator[Block]:
    several = len(results.objectives) > 1
    yield Heading("Pareto front" if several else "Best configuration", level=3)
    listed = [(run, "Pareto front" if several else "best of the search") for run in front[:MOST_FRONT]]
    listed += [(run, run.key.replace("-", ": ", 1)) for run in results.runs("reference")]
    rows = [(*cells((run.key, what)), *_scores(results, run, metrics)) for run, what in listed]
    heads = ("run", "what", *map(results.arrow, metrics), *map(results.best_epoch_label, results.objective_metrics))
    note = "One seed each: the differences are no evidence."
    if "confirm" in results.plans:
        note += " The confirmation, with its seeds and intervals, is what counts."
    if len(front) > MOST_FRONT:
        note += f" {len(front) - MOST_FRONT} further configurations of the front are in {layout.TABLE}."
    caption = "Search: the best of it beside the reference runs, last epoch"
    yield Table("search-best", caption, heads, tuple(rows), words=2, note=note)
    names = [name for name in knobs.domains if any(name in t.picks for t in front)]
    if names:
        rows = [cells([name, *(_pick(knobs, t, name) for t in front[:MOST_PICKS])]) for name in names]
        heads = ("setting", *(t.key for t in front[:MOST_PICKS]))
        yield Table("search-picks", "Search: what the best picked", heads, tuple(rows))


def _top(results: Results, complete: Sequence[Run]) -> Iterator[Block]:
    """The best trials with all they picked, what belongs to an option included: tau, beta, a temperature."""
    objective, goals = results.objectives[0], results.objective_metrics
    sign = 1 if objective.mode == "max" else -1
    ranked = sorted(complete, key=lambda run: -sign * (results.last(run, objective.metric) or 0.0))[:MOST_TOP]
    if len(ranked) < 2 or not any(run.picks for run in ranked):
        return
    rows = [
        cells((r.key, short_picks(r.picks) or NOTHING, *(number(results.last(r, m)) for m in goals))) for r in ranked
    ]
    caption = f"Search: the best {len(rows)} of {count(len(complete), 'complete trial')} by {objective.metric}"
    note = "Neighbours in this order may differ by chance alone."
    yield Table("search-top", caption, ("run", "picked", *map(results.arrow, goals)), tuple(rows), words=2, note=note)


def _scores_of_trials(
    results: Results, trials: Sequence[Run], complete: Sequence[Run], front: Sequence[Run]
) -> Iterator[Block]:
    objectives = results.objective_metrics
    for metric in objectives:
        caption = f"Search: {metric} of the last epoch by trial. References are single runs outside the search."
        yield Picture(f"search-history-{slug(metric)}", caption, partial(history, results, trials, metric))
    if len(objectives) > 1:
        caption = f"Search: {objectives[0]} against {objectives[1]}, last epoch, one seed each."
        yield Picture("search-pareto", caption, partial(pareto, results, complete, front, objectives))


def _scores(results: Results, trial: Run, metrics: Sequence[str]) -> tuple[Cell, ...]:
    if not trial.complete:
        return cells([f"({trial.state})"] + [""] * (len(metrics) + len(results.objectives) - 1), "muted")
    best = (results.best_epoch(trial, metric) for metric in results.objective_metrics)
    of_best = [f"{number(one.value)} (epoch {one.epoch})" if one else NOTHING for one in best]
    return cells([*(number(results.last(trial, metric)) for metric in metrics), *of_best])


def _pick(knobs: Knobs, trial: Run, name: str) -> str:
    picks = {**trial.picks, **knobs.picks[trial.key]}  # what a variable hides as it is written
    return setting(picks[name]) if name in picks else NOTHING


def _front(results: Results, complete: Sequence[Run]) -> list[Run]:
    """Trials that no other beats in every objective, best first by the first; of a single objective the best one."""
    signs = [1 if objective.mode == "max" else -1 for objective in results.objectives]
    last = {t.key: [results.last(t, metric) or 0.0 for metric in results.objective_metrics] for t in complete}
    front = undominated(complete, lambda t: [s * value for s, value in zip(signs, last[t.key], strict=True)])
    return front if len(signs) > 1 else front[:1]
