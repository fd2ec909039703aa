"""The answer of a study in a sentence or two, as pages, MLflow and the terminal say it alike.

Plain text, the difference and short picks in front: MLflow's page of an experiment cuts after 90 characters. Statistics
are imported only where a comparison has runs.
"""

from collections.abc import Iterator, Sequence

from orchestrator.report.pages.numbers import count, listed, number, signed
from orchestrator.report.source import Results, Run
from orchestrator.store.ranking import SEEN, rival, undominated
from orchestrator.store.short_picks import short_picks
from orchestrator.store.trial_record import reference_name
from orchestrator.studyfile import Objective
from trainable.evaluate.metrics.names import MIOU, RARE_MIOU

MOST_REFERENCES = 4
"""Reference runs that a sentence names."""
NO_EVIDENCE = "No evidence (1 seed)."
"""Of a search: every configuration has one seed."""
USUAL = (RARE_MIOU, MIOU)
"""Where a gain in an objective may have its price, besides the other objectives."""
NO_TRIAL = "No answer yet: no trial of the search was trained to its end."
NO_RUN = "No answer yet: no run was trained to its end."


def short_answers(results: Results) -> tuple[str, ...]:
    """What a study says, one sentence per line, the strongest evidence first; never empty.

    A comparison answers with its headline: which arm helps, or that none is shown to. A search has one seed per
    configuration, so its answer begins with "No evidence".
    """
    lines = list(_of_comparisons(results)) if results.plans else []
    if results.runs("search", "imported"):
        lines += search_answers(results)
    return tuple(lines) or (NO_RUN,)


def _of_comparisons(results: Results) -> Iterator[str]:
    from orchestrator.report.sections.comparison_results import stages_of  # late: only comparisons need it
    from orchestrator.report.sections.headline import headline

    for stage in stages_of(results).values():
        titled = f"{stage.title}: " if len(results.plans) > 1 else ""
        yield from (titled + headline(stage, metric) for metric in results.objective_metrics)


def search_answers(results: Results) -> Iterator[str]:
    """The best of the search by each objective beside the references, then in what it is worse than the first of them.

    That is an observation on one seed, as the difference itself is.
    """
    trials = complete_trials(results)
    if not trials:
        yield NO_TRIAL
        return
    several = len(results.objectives) > 1
    if several:
        front = undominated(trials, lambda run: _signed_scores(results, run))
        goals = " and ".join(results.objective_metrics)
        yield f"{NO_EVIDENCE} {len(front)} of {count(len(trials), 'trial')} are on the Pareto front of {goals}."
    for objective in results.objectives:
        best = best_trial(results, trials, objective)
        references = _references(results, objective.metric)
        lead = f"Best {objective.metric}" if several else f"{NO_EVIDENCE} Best"
        what = short_picks(best.picks) or best.key
        other = references[0] if references else None
        ahead = _ahead(results, best, other, objective)
        yield f"{lead} of {len(trials)}{ahead}: {what}: {_beside(results, best, references, objective)}."
        yield from _price(results, best, other, objective)


def complete_trials(results: Results) -> list[Run]:
    """Trials of the search that were trained to their end and have every objective."""
    trials = [run for run in results.runs("imported", "search") if run.complete]
    return [run for run in trials if all(results.last(run, metric) is not None for metric in results.objective_metrics)]


def best_trial(results: Results, trials: Sequence[Run], objective: Objective) -> Run:
    """The trial with the best last epoch; of equal ones the first. ``trials`` must have the objective."""
    sign = 1 if objective.mode == "max" else -1
    return max(trials, key=lambda run: sign * (results.last(run, objective.metric) or 0.0))


def _signed_scores(results: Results, run: Run) -> list[float]:
    """Last values of the objectives, larger is better."""
    return [(1 if o.mode == "max" else -1) * (results.last(run, o.metric) or 0.0) for o in results.objectives]


def _references(results: Results, metric: str) -> list[Run]:
    """Complete references that have the metric: first the one that others are compared with, then in their order."""
    known = [run for run in results.runs("reference") if run.complete and results.last(run, metric) is not None]
    first = rival(map(_name, known))
    return sorted(known, key=lambda run: _name(run) != first)


def _name(reference: Run) -> str:
    return reference_name(reference.key)


def _ahead(results: Results, best: Run, other: Run | None, objective: Objective) -> str:
    """``, +0.3711 over plain``: how far the best is from another, in words where the sign may mislead."""
    if other is None:
        return ""
    gain = _gain(results, best, other, objective.metric)
    if abs(gain) < SEEN / 2:
        return f", equal to {_name(other)}"
    difference = gain if objective.mode == "max" else -gain
    word = " (worse)" if gain < 0 else "" if objective.mode == "max" else " (better)"
    return f", {signed(difference)} {'over' if difference > 0 else 'under'} {_name(other)}{word}"


def _beside(results: Results, best: Run, references: Sequence[Run], objective: Objective) -> str:
    """``val/miou 0.4512; plain 0.0801, official 0.1002 (+0.3510)``: the first difference is said before."""
    metric = objective.metric
    own = results.last(best, metric) or 0.0
    score = f"{metric} {number(own)}" + (" (smaller is better)" if objective.mode == "min" else "")
    others = []
    for run in references:
        value = results.last(run, metric) or 0.0
        worse = own < value if objective.mode == "max" else own > value
        beside = f" ({signed(own - value)}{', worse' if worse else ''})" if run is not references[0] else ""
        others.append(f"{_name(run)} {number(value)}{beside}")
    return f"{score}; {listed(others, MOST_REFERENCES)}" if others else score


def _price(results: Results, best: Run, other: Run | None, objective: Objective) -> Iterator[str]:
    """In which other objectives and usual metrics the best is worse than a reference; nothing where in none."""
    if other is None:
        return
    metrics = dict.fromkeys([*results.objective_metrics, *USUAL])
    losses = [
        f"{metric} {number(results.last(best, metric))}, {_name(other)} {number(results.last(other, metric))} "
        f"({signed(-loss if results.greater_is_better(metric) else loss)})"
        for metric in metrics
        if metric != objective.metric and (loss := -_gain(results, best, other, metric)) >= SEEN / 2
    ]
    if losses:
        word = "Price" if _gain(results, best, other, objective.metric) > 0 else "Worse too"
        whose = f", best {objective.metric}" if len(results.objectives) > 1 else ""
        yield f"{word}{whose} (observed, not shown): {'; '.join(losses)}."


def _gain(results: Results, run: Run, other: Run, metric: str) -> float:
    """By how much a run is better than another; 0 where one of them lacks the metric."""
    own, value = results.last(run, metric), results.last(other, metric)
    if own is None or value is None:
        return 0.0
    return own - value if results.greater_is_better(metric) else value - own
