"""The searched settings of a study: their domains from the frozen specification, their picks from the table."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.report.source import Results, Trial, nested
from orchestrator.studyfile import Choice, Domain, Float, Int, SearchSpace, Tree, Value
from orchestrator.studyfile.space.notation import tree_of
from orchestrator.studyfile.space.trees import TRIAL_KEYS
from trainable.configfile.document import read_yaml
from trainable.configfile.mistakes import Mistake
from trainable.configfile.node import Place


@dataclass(frozen=True)
class Knobs:
    """A search space and what the trials picked from it."""

    domains: Mapping[str, Domain]
    """By name, in the order of the study file."""
    conditional: frozenset[str]
    """Knobs that exist only where an option of another one was picked."""
    picks: Mapping[str, Mapping[str, Value]]
    """By trial; trials that do not lie in the space are absent."""


def read_knobs(results: Results, trials: Sequence[Trial]) -> Knobs:
    """The search space of a study, and the picks of some trials."""
    space = _searched(results)
    found = space.domains()
    picks = {}
    for trial in trials:
        picked = space.read_picks(nested(trial.params))
        if picked is not None:
            picks[trial.key] = picked
    return Knobs({name: domain for name, domain, _ in found}, frozenset(n for n, _, inner in found if inner), picks)


def varied(knobs: Knobs, trials: Sequence[Trial]) -> list[str]:
    """Knobs for which the trials picked two values or more."""
    seen: dict[str, set[Value]] = {name: set() for name in knobs.domains}
    for trial in trials:
        for name, value in knobs.picks.get(trial.key, {}).items():
            seen[name].add(value)
    return [name for name, values in seen.items() if len(values) > 1]


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Names without the sections in front, as far as they stay apart: ``suppression.p_max`` as ``p_max``."""
    found = {name: name.split(".", 1)[-1] for name in names}
    clashing = {short for short in found.values() if list(found.values()).count(short) > 1}
    return {name: name if short in clashing else short for name, short in found.items()}


def _searched(results: Results) -> SearchSpace:
    """The space of the frozen specification, without the settings that it leaves as they are."""
    mistakes: list[Mistake] = []
    tree = {key: results.specification[key] for key in TRIAL_KEYS if key in results.specification}
    node = read_yaml(json.dumps(tree, ensure_ascii=False), lambda line: Place("study.json", line), mistakes)
    assert node is not None  # it was written from a valid study
    assert not mistakes
    space = tree_of(node)
    assert isinstance(space, dict)
    return SearchSpace(dict(_with_domains(space)))


def _with_domains(tree: Mapping[str, Tree]) -> Iterator[tuple[str, Tree]]:
    """The settings that hold a domain; lists as a whole, since their length tells them apart."""
    for key, child in tree.items():
        match child:
            case Float() | Int() | Choice():
                yield key, child
            case dict():
                inner = dict(_with_domains(child))
                if inner:
                    yield key, inner
            case list():
                if any(isinstance(item, Float | Int | Choice | dict) for item in child):
                    yield key, child
            case _:
                pass  # a fixed setting
