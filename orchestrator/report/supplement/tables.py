"""The tables of a supplement: hyperparameters, compute."""

from collections import Counter
from collections.abc import Iterator, Sequence

from orchestrator.report.answers import best_trial, complete_trials
from orchestrator.report.pages.document import Table, cells
from orchestrator.report.pages.numbers import NOTHING, setting
from orchestrator.report.sections.setup import epoch_seconds, hours, trained_runs, values_of
from orchestrator.report.source import Results, Run
from orchestrator.store.results_table import PARAM
from orchestrator.store.short_picks import short_value
from orchestrator.studyfile import Choice, Domain

MOST_VALUES = 8
"""Values of a setting that differs between arms."""


def hyperparameter_table(results: Results) -> Table:
    """Every setting: fixed, searched or compared, its values, and what the best of the search picked."""
    runs, domains = trained_runs(results), {name: domain for name, domain, _ in results.space.domains()}
    trials = complete_trials(results)
    best = best_trial(results, trials, results.objectives[0]) if trials else None
    rows = [
        *((name, "searched", _in_words(domain), _pick(best, name)) for name, domain in domains.items()),
        *_fixed(results, runs, list(domains)),
    ]
    caption = f"Hyperparameters of study {results.study}"
    heads = ("setting", "how", "values", "best of the search")
    return Table("hyperparameters", caption, heads, tuple(map(cells, rows)), words=3)


def _pick(best: Run | None, name: str) -> str:
    return short_value(best.picks[name]) if best and name in best.picks else ""


def _in_words(domain: Domain) -> str:
    if isinstance(domain, Choice):
        return " | ".join(map(short_value, domain.labels))
    step = f", step {domain.step:g}" if domain.step not in (None, 1) else ""
    return f"{domain.low:g} to {domain.high:g}{', logarithmic' if domain.log else ''}{step}"


def _fixed(results: Results, runs: Sequence[Run], searched: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    """Settings that no domain gave, as the runs had them; what a domain decides is left to its line."""
    for column in sorted(name for name in results.table.column_names if name.startswith(PARAM)):
        path = column.removeprefix(PARAM)
        if any(path == name or path.startswith(f"{name}.") for name in searched):
            continue
        values = [setting(value) for value in values_of(results, runs, path)]
        if values:
            text = " | ".join(sorted(values)[:MOST_VALUES]) + (" | …" if len(values) > MOST_VALUES else "")
            yield path, "fixed" if len(values) == 1 else "differs between runs", text, ""


def compute_table(results: Results) -> Table:
    """What was used, and on what."""
    rows = tuple(map(cells, _compute(results)))
    return Table("compute", f"Compute of study {results.study}", ("what", "value"), rows, words=2)


def _compute(results: Results) -> Iterator[tuple[str, str]]:
    runs, origin = trained_runs(results), results.origin
    for kind, number in sorted(Counter(run.kind for run in runs).items()):
        yield f"runs: {kind}", str(number)
    yield "epochs kept", str(sum(run.rows.stop - run.rows.start for run in runs))
    yield "wall time of the epochs together", hours(epoch_seconds(results))
    spent = origin.spent
    yield "wall time of the launches", hours(spent.seconds) if spent.seconds else NOTHING
    yield (
        "time of the trials together, starts and lost work included",
        (hours(spent.trial_seconds) if spent.trial_seconds else NOTHING),
    )
    yield "GPU-hours", f"{spent.gpu_hours:.2f}" if spent.trial_seconds else NOTHING
    machines = Counter(
        (claim.host, claim.cpu or "processor not kept", claim.gpu or "no GPU") for claim in origin.claims
    )
    if not machines:
        yield "machines", "not kept"
    for (host, cpu, gpu), number in sorted(machines.items()):
        yield f"machine {host or '?'}", f"{cpu}; {gpu}; {number} of the runs that were asked"
