"""Checks the ``confirm`` and ``ablation`` sections of a study file: each stage has what it builds on, arms are trials.

What depends on the outcome of a search (its winner) is checked with every searched value at its middle here, and as it
is at the launch.
"""

import re
from collections.abc import Iterator, Mapping

from pydantic import JsonValue, ValidationError

from orchestrator.studyfile.checks.ablation_in_file import AblationFile, trial_mistakes
from orchestrator.studyfile.checks.factors import factor_mistakes
from orchestrator.studyfile.sections.comparison import (
    MOST_RUNS,
    AblationPath,
    Arms,
    BestOf,
    Values,
    Winner,
    Written,
    count_arms,
)
from orchestrator.studyfile.sections.looks import LooksSection, most_seeds
from orchestrator.studyfile.sections.search import STUDY_NAME, STUDY_NAME_RULE
from orchestrator.studyfile.sections.study import StudySpec
from orchestrator.studyfile.space.notation import is_domain
from orchestrator.studyfile.space.space import SearchSpace
from orchestrator.studyfile.space.trees import TRIAL_KEYS, acting, base_tree, trial_of, value_at
from trainable.configfile.mistakes import Mistake, show_path, unknown
from trainable.configfile.node import Key, Node, child_of, items_of, nearest
from trainable.presets import PRESETS
from trainable.suppression.unused import without_unused

MOST_ARMS, MOST_PATH_LEVELS = 1000, 200
"""More are a slip: nobody waits for so many arms, and the levels of a path are checked in pairs."""


def check_stages(spec: StudySpec, root: Node, trial: Node, mistakes: list[Mistake]) -> None:
    """Check that each stage has what it builds on."""
    if spec.confirm is not None and child_of(root, "search") is None:
        message = "repeats the best configurations of a search, and the file has no search"
        mistakes.append(Mistake(nearest(root, ["confirm"]).place, "confirm", message))
    if spec.confirm is not None and (runs := spec.confirm.top * (seeds := most_seeds(spec.confirm.seeds))) > MOST_RUNS:
        message = f"the best {spec.confirm.top} on {seeds} seeds are {runs} runs; at most {MOST_RUNS}"
        mistakes.append(Mistake(nearest(root, ["confirm"]).place, "confirm", message))
    if not spec.searched:
        for path, node in _domain_nodes(trial, ()):
            message = "a domain needs a search, and the file has none; list the levels under ablation.factors"
            mistakes.append(Mistake(node.place, path, message))


def check_references(spec: StudySpec, root: Node, space: SearchSpace, mistakes: list[Mistake]) -> None:
    """Check that each reference of a search makes a trial with every searched value at its middle."""
    middle = space.at_center()
    for index, name in enumerate(spec.search.references if spec.searched else ()):
        for mistake in trial_mistakes(middle, {"preset": name}):
            path: list[Key] = ["search", "references", index]
            message = f"the reference {name}: {mistake.path}: {mistake.message}"
            mistakes.append(Mistake(nearest(root, path).place, show_path(path), message))


def check_ablation(file: AblationFile, mistakes: list[Mistake]) -> None:
    """Check that the design is possible and that all of its arms are valid trials."""
    for check in (_which, _shapes, _extent, _baseline):
        wrong = list(check(file))
        mistakes.extend(wrong)
        if wrong:
            return
    try:
        base = base_tree(file.section, file.space.at_center(), file.baseline)
    except (ValueError, ValidationError):  # the middle of the space is no trial: all is checked at the launch
        return
    arms = isinstance(file.section.design, Arms)
    mistakes.extend(_arm_mistakes(file, base) if arms else factor_mistakes(file, base))


def _domain_nodes(node: Node, path: tuple[Key, ...]) -> Iterator[tuple[str, Node]]:
    if is_domain(node.value):
        yield show_path(path), node
        return
    for key, child in items_of(node):
        yield from _domain_nodes(child, (*path, key))


def _which(file: AblationFile) -> Iterator[Mistake]:
    """Factors or arms, as the design needs them, and not both."""
    design = file.section.design.name
    wanted, other = ("arms", "factors") if design == "arms" else ("factors", "arms")
    given = {"arms": file.section.arms is not None, "factors": bool(file.section.factors)}
    if given[other]:
        yield file.mistake(f"the design {design} has {wanted}, not {other}", other)
    elif not given[wanted]:
        yield file.mistake(f"missing; the design {design} needs {wanted}", wanted)


def _shapes(file: AblationFile) -> Iterator[Mistake]:
    readers = {"baseline": lambda: file.baseline, "factors": file.section.read_factors, "arms": file.section.read_arms}
    for key, read in readers.items():
        try:
            read()
        except ValueError as error:
            yield file.mistake(str(error), key)


def _extent(file: AblationFile) -> Iterator[Mistake]:
    """More arms, or runs, than anybody waits for are a slip."""
    section, levels = file.section, [len(levels) for levels in file.section.read_factors().values()]
    arms = len(section.read_arms()) or count_arms(section.design, levels)
    if arms > MOST_ARMS:
        hint = ": use fractional or one_at_a_time" if section.design.name == "factorial" else ""
        yield file.mistake(f"{arms} arms; at most {MOST_ARMS}{hint}", "design")
    elif isinstance(section.design, AblationPath) and sum(levels) > MOST_PATH_LEVELS:
        yield file.mistake(f"{sum(levels)} levels; a path takes at most {MOST_PATH_LEVELS}", "factors")
    elif isinstance(section.design, AblationPath) and isinstance(section.seeds, LooksSection):
        yield file.mistake("looks do not go with a path, whose arms follow from the results; write a number", "seeds")
    elif (runs := arms * (seeds := most_seeds(section.seeds))) > MOST_RUNS:
        yield file.mistake(f"{arms} arms on {seeds} seeds are {runs} runs; at most {MOST_RUNS}", "seeds")


def _baseline(file: AblationFile) -> Iterator[Mistake]:
    baseline = file.baseline
    if isinstance(baseline, Winner) and not file.searched:
        yield file.mistake("winner is that of a search, and the file has no search", "baseline")
    elif isinstance(baseline, BestOf) and not re.fullmatch(STUDY_NAME, baseline.study):
        yield file.mistake(f"{STUDY_NAME_RULE}; got '{baseline.study}'", "baseline", "best")
    elif isinstance(baseline, Written):
        yield from _values_mistakes(file, file.space.at_center(), baseline.values, "baseline")
        for name, _, conditional in file.space.domains() if file.searched else ():
            if not conditional and not any(name == path or name.startswith(f"{path}.") for path in baseline.values):
                yield file.mistake(f"must give a value to {name}, which is searched; or write winner", "baseline")


def _arm_mistakes(file: AblationFile, base: Mapping[str, JsonValue]) -> Iterator[Mistake]:
    seen: dict[str, str] = {}
    sound = True
    arms, listed = file.section.read_arms(), isinstance(file.section.arms, list)
    names = [str(name) for name in file.section.arms] if isinstance(file.section.arms, list) else list(arms)
    for index, name in enumerate(names):
        place: Key = index if listed else name
        values = arms[name]
        preset = values.get("preset")
        if listed and name in names[:index]:
            yield file.mistake(f"lists '{name}' twice", "arms", place)
        elif preset is not None and preset not in PRESETS:
            yield file.mistake(unknown(str(preset), tuple(PRESETS)), "arms", place)
        elif wrong := _values_mistakes(file, base, values, "arms", place):
            yield from wrong
        elif (equal := seen.setdefault(acting(trial_of(base, values)), name)) != name:
            yield file.mistake(f"'{name}' is the same configuration as '{equal}'", "arms", place)
        elif idle := _without_effect(base, values):
            yield file.mistake("has no effect beside the arm's other settings; leave it out", "arms", place, idle)
        else:
            continue
        sound = False
    if sound and seen and set(seen) == {acting(trial_of(base))}:
        yield file.mistake("needs an arm besides the baseline", "arms")


def _without_effect(base: Mapping[str, JsonValue], values: Values) -> str | None:
    """The path of a value that has no effect beside the arm's other settings."""
    tree = trial_of(base, values).model_dump(mode="json")
    acting_tree = without_unused(tree)
    return next((path for path in values if _holds(tree, path) and not _holds(acting_tree, path)), None)


def _holds(tree: Mapping[str, JsonValue], path: str) -> bool:
    *sections, key = path.split(".")
    section = value_at(tree, ".".join(sections)) if sections else tree
    return not isinstance(section, Mapping) or key in section


def _values_mistakes(file: AblationFile, tree: Mapping[str, JsonValue], values: Values, *where: Key) -> list[Mistake]:
    """What is wrong with the trial that replaced values give."""
    for path in values:
        if (key := path.split(".")[0]) not in TRIAL_KEYS:
            return [file.mistake(unknown(key, TRIAL_KEYS, "key"), *where, path)]
    return [
        file.mistake(mistake.message, *where, next((p for p in values if mistake.path.startswith(p)), mistake.path))
        for mistake in trial_mistakes(tree, values)
    ]
