"""The answer of a study in a sentence or two, as pages, MLflow and the terminal say it alike.

Plain text, short picks in front: a page may cut after 100 characters. Statistics are imported only where a comparison
has runs.
"""

from collections.abc import Iterator, Sequence

from orchestrator.report.pages.numbers import count, listed, number, signed
from orchestrator.report.source import Results, Run
from orchestrator.store.ranking import undominated
from orchestrator.store.short_picks import short_picks
from orchestrator.studyfile import Objective

MOST_REFERENCES = 4
"""Reference runs that a sentence names."""
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
    from orchestrator.report.sections.comparison_results import stages_of  # late: statsmodels takes a second
    from orchestrator.report.sections.headline import headline

    for stage in stages_of(results).values():
        titled = f"{stage.title}: " if len(results.plans) > 1 else ""
        yield from (titled + headline(stage, metric) for metric in results.objective_metrics)


def search_answers(results: Results) -> Iterator[str]:
    """The best of the search by each objective, beside the references; one sentence each."""
    trials = complete_trials(results)
    if not trials:
        yield NO_TRIAL
        return
    several = len(results.objectives) > 1
    if several:
        front = undominated(trials, lambda run: _signed_scores(results, run))
        goals = " and ".join(results.objective_metrics)
        yield f"{_evidence(trials)} {len(front)} of {count(len(trials), 'trial')} are on the Pareto front of {goals}."
    for objective in results.objectives:
        best = best_trial(results, trials, objective)
        what = short_picks(best.picks) or best.key
        lead = f"Best {objective.metric}" if several else f"{_evidence(trials)} Best"
        yield f"{lead} of {len(trials)}: {what}: {_beside(results, best, objective)}."


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


def _evidence(trials: Sequence[Run]) -> str:
    return f"No evidence (1 seed{'' if len(trials) == 1 else ' each'})."


def _beside(results: Results, best: Run, objective: Objective) -> str:
    """``val/miou 0.4512; plain 0.0801 (+0.3711), official 0.1002 (+0.3510)``."""
    metric = objective.metric
    own = results.last(best, metric)
    score = f"{metric} {number(own)}" + (" (smaller is better)" if objective.mode == "min" else "")
    references = []
    for run in results.runs("reference"):
        value = results.last(run, metric) if run.complete else None
        if value is None or own is None:
            continue
        worse = own < value if objective.mode == "max" else own > value
        name = run.key.removeprefix("reference-")
        references.append(f"{name} {number(value)} ({signed(own - value)}{', worse' if worse else ''})")
    return f"{score}; {listed(references, MOST_REFERENCES)}" if references else score
