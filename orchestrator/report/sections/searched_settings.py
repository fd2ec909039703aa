"""The searched settings of a study: their domains from the frozen specification, their picks from the table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.report.source import Results, Run
from orchestrator.studyfile import Choice, Domain, Value


@dataclass(frozen=True)
class Knobs:
    """A search space and what the trials picked from it."""

    domains: Mapping[str, Domain]
    """By name, in the order of the study file."""
    conditional: frozenset[str]
    """Knobs that exist only where an option of another one was picked."""
    picks: Mapping[str, Mapping[str, Value]]
    """By trial; what an environment variable hides is not there."""


def read_knobs(results: Results, runs: Sequence[Run]) -> Knobs:
    """The search space of a study, and the picks of some trials."""
    space = results.space.domains()
    domains = {name: domain for name, domain, _ in space}
    picks = {run.key: dict(_picks(run, domains)) for run in runs}
    return Knobs(domains, frozenset(name for name, _, inner in space if inner), picks)


def varied(knobs: Knobs, runs: Sequence[Run]) -> list[str]:
    """Knobs for which the trials picked two values or more."""
    values: dict[str, set[Value]] = {name: set() for name in knobs.domains}
    for run in runs:
        for name, value in knobs.picks[run.key].items():
            values[name].add(value)
    return [name for name, distinct in values.items() if len(distinct) > 1]


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Names without the sections in front, as far as they stay apart: ``suppression.p_max`` as ``p_max``."""
    shortened = {name: name.split(".", 1)[-1] for name in names}
    clashing = {short for short in shortened.values() if list(shortened.values()).count(short) > 1}
    return {name: name if short in clashing else short for name, short in shortened.items()}


def _picks(run: Run, domains: Mapping[str, Domain]) -> Iterator[tuple[str, Value]]:
    """What a run picked, as the domains hold it."""
    for name in (name for name in domains if name in run.picks):
        domain, written = domains[name], run.picks[name]
        if isinstance(domain, Choice):  # in a column of several types every label is text, and null always is
            labels = [v for v in domain.labels if v == written or ("null" if v is None else str(v)) == written]
            if labels:
                yield name, labels[0]
        elif isinstance(written, int | float) and domain.contains(written):
            yield name, domain.snap(written)
