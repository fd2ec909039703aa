"""Which combinations of sampler, pruner, objectives and search space are refused, and why.

Optuna would refuse some of them in the middle of a study and silently sample at random in others.
"""

from collections.abc import Callable, Iterator
from typing import TypeAlias

from orchestrator.studyfile.sections.search import ASHA, CMAES, GP, QMC, Grid, Hyperband, Median
from orchestrator.studyfile.sections.study import StudySpec
from orchestrator.studyfile.space.domain import Choice, Domain, Float, Int
from orchestrator.studyfile.space.space import SearchSpace

Rule: TypeAlias = Callable[[StudySpec, SearchSpace], str | None]
"""The reason to refuse a study; None where the rule is kept."""


def broken_rules(spec: StudySpec, space: SearchSpace) -> Iterator[tuple[str, str]]:
    """The path and the reason of every broken rule."""
    for path, rule in RULES:
        reason = rule(spec, space)
        if reason is not None:
            yield path, reason


def _pruner_needs_one_objective(spec: StudySpec, _: SearchSpace) -> str | None:
    if spec.search.pruner is None or len(spec.objectives) == 1:
        return None
    return f"{spec.search.pruner.name} prunes by one objective, the study has {len(spec.objectives)}; use null"


def _pruner_needs_time(spec: StudySpec, space: SearchSpace) -> str | None:
    pruner, epochs = spec.search.pruner, space.max_epochs()
    if not isinstance(pruner, ASHA | Hyperband | Median) or not pruner.grace_epochs or pruner.grace_epochs < epochs:
        return None
    return f"grace_epochs must be below train.epochs, or nothing is ever pruned: {pruner.grace_epochs} of {epochs}"


def _cmaes_needs_one_objective(spec: StudySpec, _: SearchSpace) -> str | None:
    if not isinstance(spec.search.sampler, CMAES) or len(spec.objectives) == 1:
        return None
    return f"cmaes searches for one objective, the study has {len(spec.objectives)}; use tpe or nsgaii"


def _cmaes_needs_numbers(spec: StudySpec, space: SearchSpace) -> str | None:
    choices = [name for name, domain, _ in space.domains() if isinstance(domain, Choice)]
    if not isinstance(spec.search.sampler, CMAES) or not choices:
        return None
    return f"cmaes covers numeric domains only, {', '.join(choices)} is a choice; use tpe or random"


def _cmaes_needs_two_domains(spec: StudySpec, space: SearchSpace) -> str | None:
    numeric = [name for name, domain, _ in space.domains() if isinstance(domain, Float | Int)]
    if not isinstance(spec.search.sampler, CMAES) or len(numeric) >= 2:
        return None
    return f"cmaes needs at least two numeric domains, the study has {', '.join(numeric) or 'none'}; use tpe or gp"


def _flat_space_only(spec: StudySpec, space: SearchSpace) -> str | None:
    conditional = [name for name, _, conditional in space.domains() if conditional]
    sampler = spec.search.sampler
    if not isinstance(sampler, GP | QMC) or not conditional:
        return None
    return (
        f"{sampler.name} needs a flat space, {', '.join(conditional)} applies only under an option of a choice; use tpe"
    )


def _grid_needs_a_finite_space(spec: StudySpec, space: SearchSpace) -> str | None:
    continuous = [name for name, domain, _ in space.domains() if _is_continuous(domain)]
    if not isinstance(spec.search.sampler, Grid) or not continuous:
        return None
    return f"grid needs finite domains, {', '.join(continuous)} is continuous; add a step, or use a choice"


def _is_continuous(domain: Domain) -> bool:
    return isinstance(domain, Float) and domain.step is None


def _budget_is_given(spec: StudySpec, _: SearchSpace) -> str | None:
    if spec.search.trials is not None or isinstance(spec.search.sampler, Grid):
        return None
    return "missing; only the sampler grid can do without, it then tries every configuration"


def _budget_needs_a_domain(spec: StudySpec, space: SearchSpace) -> str | None:
    trials = spec.search.trials
    if trials is None or trials == 1 or space.domains():
        return None
    return (
        f"{trials} trials of a study without a domain would repeat one configuration; write trials: 1 or add a domain"
    )


def _searches_see_no_test_split(spec: StudySpec, space: SearchSpace) -> str | None:
    evaluation = space.tree.get("evaluation")
    if not spec.searched or not isinstance(evaluation, dict) or evaluation.get("test_at_end") is not True:
        return None
    return "a search must not see the test split; confirm: scores the confirmed runs on it"


RULES: tuple[tuple[str, Rule], ...] = (
    ("search.pruner", _pruner_needs_one_objective),
    ("search.pruner.grace_epochs", _pruner_needs_time),
    ("search.sampler", _cmaes_needs_one_objective),
    ("search.sampler", _cmaes_needs_numbers),
    ("search.sampler", _cmaes_needs_two_domains),
    ("search.sampler", _flat_space_only),
    ("search.sampler", _grid_needs_a_finite_space),
    ("search.trials", _budget_is_given),
    ("search.trials", _budget_needs_a_domain),
    ("evaluation.test_at_end", _searches_see_no_test_split),
)
"""The value that a rule judges, and the rule."""
