"""Reads a study file: YAML -> overrides -> environment -> domains -> sections -> combinations; all mistakes at once."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import JsonValue

from orchestrator.studyfile.checks.ablation_in_file import AblationFile
from orchestrator.studyfile.checks.combinations import broken_rules, void_domains
from orchestrator.studyfile.checks.ranks import check_batches, check_batches_of_arms
from orchestrator.studyfile.checks.stages import check_ablation, check_references, check_stages
from orchestrator.studyfile.checks.trials import check_data_sets, check_metrics, check_suppression, check_trials
from orchestrator.studyfile.environment import from_env
from orchestrator.studyfile.places import Places
from orchestrator.studyfile.run_weights import ContentOf, with_contents
from orchestrator.studyfile.sections.budget import BudgetSection
from orchestrator.studyfile.sections.comparison import AblationSection, ConfirmSection
from orchestrator.studyfile.sections.resources import ResourcesSection, TrackingSection
from orchestrator.studyfile.sections.search import STUDY_NAME, STUDY_NAME_RULE, SearchSection
from orchestrator.studyfile.sections.study import Objective, StudySpec
from orchestrator.studyfile.space.notation import check_domains, is_domain, tree_of
from orchestrator.studyfile.space.space import SearchSpace
from orchestrator.studyfile.space.trees import TRIAL_KEYS
from orchestrator.studyfile.space.variants import variants
from orchestrator.studyfile.study import Study
from trainable.config import TrialConfig
from trainable.configfile.environment import hide_values
from trainable.configfile.messages import validate
from trainable.configfile.mistakes import ConfigError, Mistake, show_path, unknown
from trainable.configfile.node import JsonObject, Key, Node, child_of, entries_of, has_broken, nearest, written
from trainable.configfile.reading import read_mapping
from trainable.parts.asking import named_parts, part_mistakes
from trainable.parts.source import look_in
from trainable.section import Section

TYPES: Mapping[str, object] = {
    "study": str,
    "objective": Objective,
    **{key: TrialConfig.model_fields[key].annotation for key in TRIAL_KEYS},
    "search": SearchSection,
    "confirm": ConfirmSection,
    "ablation": AblationSection,
    "resources": ResourcesSection,
    "budget": BudgetSection,
    "tracking": TrackingSection,
}
"""What may stand at each key of a study file; several objectives are a list."""
KEYS = tuple(TYPES)
NAMED = ("sampler", "pruner")
"""Values of search that may be written as their name alone."""


def load(
    path: str | Path,
    overrides: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    content_of: ContentOf | None = None,
    *,
    data_here: bool = True,
) -> Study:
    """Read and check a study file; the arguments are those of `read_mapping`.

    ``content_of`` fetches weights of MLflow runs; without it a study that names some is refused. ``data_here`` says
    whether the data must lie on this machine.

    Raises:
        ConfigError: the file cannot be read or run; holds every mistake in it.
    """
    mistakes: list[Mistake] = []
    for folder in (Path(path).absolute().parent, Path.cwd()):
        look_in(folder)
    root = read_mapping(path, "a study file", TYPES, mistakes, overrides, env, _name_shorthands)
    if content_of is not None:
        root = with_contents(root, content_of, mistakes)
    study = _check(root, Path(path), mistakes, data_here)
    mistakes.extend(part_mistakes(named_parts(root, variants)) if not mistakes else ())
    if study is None or mistakes:
        raise ConfigError(hide_values(mistakes, root))
    return study


def _check(root: Node, path: Path, mistakes: list[Mistake], data_here: bool) -> Study | None:
    mistakes.extend(_key_mistakes(root))
    entries = entries_of(root)
    trial = check_domains(Node({k: v for k, v in entries.items() if k in TRIAL_KEYS}, root.place), (), mistakes)
    rest = {k: _refuse_domains(v, (k,), mistakes) for k, v in entries.items() if k not in TRIAL_KEYS}
    spec = _read_spec(Node(rest, root.place), mistakes)
    first = check_trials(trial, mistakes)
    check_suppression(trial, mistakes)
    if data_here:
        check_data_sets(trial, mistakes)
    check_metrics(trial, _metrics(rest.get("objective")), mistakes)
    if spec is None:
        return None
    check_stages(spec, root, trial, mistakes)
    mistakes.extend(_budget_mistakes(spec, root))
    if has_broken(trial):
        return None
    space = SearchSpace({key: tree_of(child) for key, child in entries_of(trial).items()})
    if not mistakes:
        check_batches(spec, root, trial, mistakes)
    if not mistakes:
        check_references(spec, root, space, mistakes)
    if spec.ablation is not None and first is not None:
        file = AblationFile(spec.ablation, rest["ablation"], space, spec.searched)
        check_ablation(file, mistakes)
        if not mistakes:
            check_batches_of_arms(spec, file, trial, mistakes)
    sound = not mistakes
    rules = [*broken_rules(spec, space), *(void_domains(space) if sound else ())] if spec.searched else []
    for rule_path, reason in rules:
        mistakes.append(Mistake(nearest(root, rule_path.split(".")).place, rule_path, reason))
    if mistakes or first is None:
        return None
    return Study(path, spec, space, from_env(root), _resolved(root, spec, first), Places(root, named_parts(root)))


def _name_shorthands(root: Node) -> Node:
    """``sampler: tpe`` as ``sampler: {name: tpe}``, and the same for the pruner."""
    search = child_of(root, "search")
    if search is None or not isinstance(search.value, dict):
        return root
    named = {
        key: replace(child, value={"name": child}) if key in NAMED and isinstance(child.value, str) else child
        for key, child in search.value.items()
    }
    return replace(root, value={**entries_of(root), "search": replace(search, value=named)})


def _key_mistakes(root: Node) -> Iterator[Mistake]:
    for key, child in entries_of(root).items():
        if key == "seed":
            yield Mistake(child.place, key, "the seeds of trials derive from search.seed; write that")
        elif key not in KEYS:
            yield Mistake(child.place, key, unknown(key, KEYS, "key"))
    for key in ("study", "objective"):
        if child_of(root, key) is None:
            yield Mistake(root.place, key, "missing")


def _refuse_domains(node: Node, path: tuple[Key, ...], mistakes: list[Mistake]) -> Node:
    """The tree with every domain in it marked as broken: only trials are searched."""
    if is_domain(node.value):
        message = f"a domain may stand only inside {', '.join(TRIAL_KEYS)}"
        mistakes.append(Mistake(node.place, show_path(path), message))
        return replace(node, broken=True)
    if isinstance(node.value, dict):
        return replace(node, value={k: _refuse_domains(v, (*path, k), mistakes) for k, v in node.value.items()})
    return node


def _objective_items(node: Node | None) -> list[tuple[tuple[Key, ...], Node]]:
    """Each objective with its path: a single one need not be a list."""
    if node is None:
        return []
    if isinstance(node.value, list):
        return [(("objective", index), item) for index, item in enumerate(node.value)]
    return [(("objective",), node)]


def _read_objectives(node: Node | None, mistakes: list[Mistake]) -> tuple[Objective, ...] | None:
    items = _objective_items(node)
    if node is not None and not items:
        mistakes.append(Mistake(node.place, "objective", "needs at least one metric"))
    objectives = [validate(Objective, item, path, mistakes) for path, item in items]
    seen: set[str] = set()
    for path, metric in _metrics(node):
        if metric.value in seen:
            mistakes.append(Mistake(metric.place, path, f"{metric} is an objective already"))
        seen.add(str(metric.value))
    valid = tuple(objective for objective in objectives if objective is not None)
    return valid if valid and len(valid) == len(items) else None


def _metrics(node: Node | None) -> list[tuple[str, Node]]:
    """The name of each objective's metric, and its path."""
    metrics = [(show_path((*path, "metric")), child_of(item, "metric")) for path, item in _objective_items(node)]
    return [(path, name) for path, name in metrics if name and isinstance(name.value, str) and not name.broken]


def _read_spec(rest: Node, mistakes: list[Mistake]) -> StudySpec | None:
    objectives = _read_objectives(child_of(rest, "objective"), mistakes)
    name = _read_name(child_of(rest, "study"), mistakes)
    empty = Node({}, rest.place)
    search = validate(SearchSection, child_of(rest, "search") or empty, ("search",), mistakes)
    resources = validate(ResourcesSection, child_of(rest, "resources") or empty, ("resources",), mistakes)
    tracking = validate(TrackingSection, child_of(rest, "tracking") or empty, ("tracking",), mistakes)
    budget = validate(BudgetSection, child_of(rest, "budget") or empty, ("budget",), mistakes)
    confirm, ablation = child_of(rest, "confirm"), child_of(rest, "ablation")
    before = len(mistakes)
    confirmed = validate(ConfirmSection, confirm, ("confirm",), mistakes) if confirm else None
    ablated = validate(AblationSection, ablation, ("ablation",), mistakes) if ablation else None
    if name is None or objectives is None or search is None or resources is None or tracking is None:
        return None
    if len(mistakes) > before or budget is None:
        return None
    searched = child_of(rest, "search") is not None or ablated is None
    return StudySpec(name, objectives, search, resources, tracking, searched, confirmed, ablated, budget)


def _budget_mistakes(spec: StudySpec, root: Node) -> Iterator[Mistake]:
    for key in ("gpu_hours", "price_per_gpu_hour") if spec.resources.gpu == 0 else ():
        if getattr(spec.budget, key) is not None:
            place = nearest(root, ["budget", key]).place
            yield Mistake(place, f"budget.{key}", "needs trials with a GPU, got resources.gpu: 0")


def _read_name(node: Node | None, mistakes: list[Mistake]) -> str | None:
    if node is None or node.broken:
        return None
    if isinstance(node.value, str) and re.fullmatch(STUDY_NAME, node.value):
        return node.value
    hint = "; quote it" if isinstance(node.value, int | float) else ""
    mistakes.append(Mistake(node.place, "study", f"{STUDY_NAME_RULE}; got {node}{hint}"))
    return None


def _resolved(root: Node, spec: StudySpec, first: TrialConfig) -> JsonObject:
    defaults: JsonObject = {"study": spec.study, "objective": None}
    defaults |= first.model_dump(mode="json", exclude={"seed"})
    sections: dict[str, Section | None] = {
        "search": spec.search if spec.searched else None,
        "confirm": spec.confirm,
        "ablation": spec.ablation,
        "resources": spec.resources,
        "budget": spec.budget,
        "tracking": spec.tracking,
    }
    for key, section in sections.items():
        if section is not None:
            defaults[key] = section.model_dump(mode="json")
    return _overlay(defaults, entries_of(root))


def _overlay(defaults: JsonObject, entries: Mapping[str, Node]) -> JsonObject:
    """The entries as written with defaults filled in; not inside domains, nor where a domain chooses the section."""
    return {key: _filled(default, entries[key]) if key in entries else default for key, default in defaults.items()}


def _filled(default: JsonValue, node: Node) -> JsonValue:
    name = child_of(node, "name")
    open_section = is_domain(node.value) or (name is not None and is_domain(name.value))
    if not isinstance(default, dict) or not isinstance(node.value, dict) or open_section:
        return written(node)
    return _overlay(default, node.value)
