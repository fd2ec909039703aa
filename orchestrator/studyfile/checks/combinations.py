"""Which combinations of sampler, pruner, objectives and search space are refused, and why.

Optuna would refuse some of them in the middle of a study and silently sample at random in others.
"""

import math
from collections.abc import Iterator

from orchestrator.studyfile.sections.search import ASHA, CMAES, GP, QMC, Grid, Hyperband, Median
from orchestrator.studyfile.sections.study import StudySpec
from orchestrator.studyfile.space.domain import Choice, Domain, Float, Int, Value
from orchestrator.studyfile.space.space import MOST_CELLS, Pick, SearchSpace
from orchestrator.studyfile.space.trees import content, frames_only

MOST_MODELS, MOST_DATA_SETS = 1000, 250
"""What may be searched: each model is built once before the first trial, each data set is a cache of its own."""


def broken_rules(spec: StudySpec, space: SearchSpace) -> Iterator[tuple[str, str]]:
    """The path of the value that a broken rule judges, and the reason to refuse it, for every broken rule."""
    yield from _pruner_rules(spec, space)
    for reason in (*_cmaes_rules(spec, space), *_space_rules(spec, space)):
        yield "search.sampler", reason
    for reason in _budget_rules(spec, space):
        yield "search.trials", reason
    yield from _extent_rules(space)
    evaluation = space.tree.get("evaluation")
    if spec.searched and isinstance(evaluation, dict) and evaluation.get("test_at_end") is True:
        yield "evaluation.test_at_end", "a search must not see the test split; confirm: scores the confirmed runs on it"


def _pruner_rules(spec: StudySpec, space: SearchSpace) -> Iterator[tuple[str, str]]:
    pruner, objectives, epochs = spec.search.pruner, len(spec.objectives), space.max_epochs()
    if pruner is not None and objectives > 1:
        yield "search.pruner", f"{pruner.name} prunes by one objective, the study has {objectives}; use null"
    if isinstance(pruner, ASHA | Hyperband | Median) and pruner.grace_epochs and pruner.grace_epochs >= epochs:
        reason = f"must be below train.epochs, or nothing is ever pruned: {pruner.grace_epochs} of {epochs}"
        yield "search.pruner.grace_epochs", f"grace_epochs {reason}"


def _cmaes_rules(spec: StudySpec, space: SearchSpace) -> Iterator[str]:
    if not isinstance(spec.search.sampler, CMAES):
        return
    choices = [name for name, domain, _ in space.domains() if isinstance(domain, Choice)]
    numeric = [name for name, domain, _ in space.domains() if isinstance(domain, Float | Int)]
    if len(spec.objectives) > 1:
        yield f"cmaes searches for one objective, the study has {len(spec.objectives)}; use tpe or nsgaii"
    if choices:
        yield f"cmaes covers numeric domains only, {', '.join(choices)} is a choice; use tpe or random"
    if len(numeric) < 2:
        yield f"cmaes needs at least two numeric domains, the study has {', '.join(numeric) or 'none'}; use tpe or gp"


def _space_rules(spec: StudySpec, space: SearchSpace) -> Iterator[str]:
    sampler = spec.search.sampler
    conditional = ", ".join(name for name, _, conditional in space.domains() if conditional)
    continuous = ", ".join(n for n, domain, _ in space.domains() if isinstance(domain, Float) and domain.step is None)
    if isinstance(sampler, GP | QMC) and conditional:
        yield f"{sampler.name} needs a flat space, {conditional} applies only under an option of a choice; use tpe"
    if isinstance(sampler, Grid) and continuous:
        yield f"grid needs finite domains, {continuous} is continuous; add a step, or use a choice"


def _budget_rules(spec: StudySpec, space: SearchSpace) -> Iterator[str]:
    trials = spec.search.trials
    if trials is None and not isinstance(spec.search.sampler, Grid):
        yield "missing; only the sampler grid can do without, it then tries every configuration"
    if trials is not None and trials > 1 and not space.domains():
        repeats = f"{trials} trials of a study without a domain would repeat one configuration"
        yield f"{repeats}; write trials: 1 or add a domain"
    size, wanted = space.size(), math.inf if trials is None else trials
    if isinstance(spec.search.sampler, Grid) and size is not None and min(size, wanted) > MOST_CELLS:
        yield f"the grid has {size} configurations; at most {MOST_CELLS} are tried: use random or qmc, or fewer values"


def _extent_rules(space: SearchSpace) -> Iterator[tuple[str, str]]:
    """A slip of some zeros must not become hours of checks before the first trial."""
    for key, most, why in (("model", MOST_MODELS, "models"), ("data", MOST_DATA_SETS, "data sets")):
        count = SearchSpace({key: frames_only(space.tree[key])}).size() if key in space.tree else 0
        if count is not None and count > most:
            yield key, f"{count} different {why}; at most {most}: each is made ready before the first trial"


def void_domains(space: SearchSpace) -> Iterator[tuple[str, str]]:
    """The same for every domain of a space of valid trials that searches nothing: each preset replaces its value."""
    preset = space.tree.get("preset")
    names = [name for name in (preset.labels if isinstance(preset, Choice) else (preset,)) if isinstance(name, str)]
    for name, domain, conditional in space.domains() if names else ():
        if not conditional and name != "preset" and all(_is_void(space, name, domain, chosen) for chosen in names):
            yield name, f"is searched, but the preset {' or '.join(names)} replaces it; give it a value"


def _is_void(space: SearchSpace, name: str, domain: Domain, preset: str) -> bool:
    """Whether trials under a preset are the same, whatever is picked from a domain."""
    values = domain.labels[:2] if isinstance(domain, Choice) else (domain.low, domain.high)
    tree = SearchSpace({**space.tree, "preset": preset})
    try:
        contents = {content(tree.trial(_pick_at(space, name, value), 0)) for value in values}
    except ValueError:  # no trial: told by other checks
        return False
    return len(values) > len(contents) == 1


def _pick_at(space: SearchSpace, name: str, value: Value) -> Pick:
    """Picks a value of one domain, and the middle of the others."""
    middle = space.center()
    return lambda at, domain: value if at == name else middle(at, domain)
