"""A paragraph for a paper: what was trained, searched, compared and tested; and one on what the comparisons show."""

from collections.abc import Iterator

from orchestrator.report.pages.escapes import escape_latex
from orchestrator.report.pages.numbers import count, listed
from orchestrator.report.sections.comparison_results import ALPHA, StageResults, stages_of
from orchestrator.report.sections.headline import headline
from orchestrator.report.sections.setup import facts, trained_runs
from orchestrator.report.source import Results
from orchestrator.report.statistics.sign_flip import CONFIDENCE
from orchestrator.studyfile.space.trees import value_at
from trainable.evaluate.metrics.glossary import named

_LINES = {
    "data": "We trained on {}.",
    "network": "The network was {}.",
    "training": "Settings of training: {}.",
    "machines": "Runs were made on {}.",
    "time": "Of the time: {}.",
    "versions": "Software: {}.",
}
"""A sentence for each fact that a paper needs."""


def methods_text(results: Results) -> str:
    """The paragraph, then what the comparisons showed, as plain text."""
    return "\n".join(["Methods", "", " ".join(_methods(results)), "", "Result", "", " ".join(_shown(results)), ""])


def methods_latex(results: Results) -> str:
    """The same for LaTeX."""
    parts = (("Methods", _methods(results)), ("Result", _shown(results)))
    return "\n".join(rf"\paragraph{{{head}.}} {escape_latex(' '.join(lines))}" + "\n" for head, lines in parts)


def _methods(results: Results) -> Iterator[str]:
    if not trained_runs(results):
        yield "Nothing was trained yet."
        return
    known = {fact.what: fact.text for fact in facts(results)}
    yield from (_LINES[what].format(known[what]) for what in ("data", "network", "training") if what in known)
    yield from _objectives(results)
    if results.runs("search", "imported"):
        yield from _search(results)
    for name, stage in stages_of(results).items():
        yield from _comparison(stage, results.plan_hashes.get(name, ""))
    yield from (_LINES[what].format(known[what]) for what in ("machines", "time", "versions") if what in known)


def _objectives(results: Results) -> Iterator[str]:
    goals = [f"{named(o.metric)}, {'larger' if o.mode == 'max' else 'smaller'} is better" for o in results.objectives]
    yield f"The objective was {'; '.join(goals)}: the value of the last epoch, not of the best one."


def _search(results: Results) -> Iterator[str]:
    trials = results.runs("search", "imported")
    complete = sum(run.complete for run in trials)
    sampler = value_at(results.specification, "search.sampler.name") or value_at(
        results.specification, "search.sampler"
    )
    domains = [name for name, _, inner in results.space.domains() if not inner]
    yield (
        f"A search (sampler {sampler}) ran {count(len(trials), 'trial')} over {count(len(domains), 'setting')} "
        f"({listed(domains, 20)}), one seed each; {complete} were trained to their end. It chose on the evaluation "
        "split."
    )


def _comparison(stage: StageResults, digest: str) -> Iterator[str]:
    plan = stage.plan
    when = "was changed after runs had begun" if plan.earlier else "was fixed before its first run"
    yield (
        f"The {stage.noun} compared {count(len(plan.arms), 'arm')} with the baseline {plan.baseline} on "
        f"{count(len(plan.seeds), 'seed')}, every arm once on every seed. Its plan (hash {digest or 'unknown'}) "
        f"{when}. Differences are paired by seed; intervals are {100 * CONFIDENCE:g} % Student's t intervals of the "
        "mean difference; p values are of the exact two-sided sign-flip test, adjusted over the arms by Holm's method "
        f"within each metric, at level {ALPHA:g}."
    )
    complete = sum(len(stage.complete(arm.name)) for arm in stage.arms)
    planned = len(plan.arms) * len(plan.seeds)
    if complete < planned:
        yield f"{planned - complete} of {planned} planned runs are not complete and enter no statistic."


def _shown(results: Results) -> Iterator[str]:
    for stage in stages_of(results).values():
        yield from (f"{stage.title}: {headline(stage, metric)}" for metric in results.objective_metrics)
    if not results.plans:
        yield "Nothing was compared: a search has one seed per configuration and is no evidence."
