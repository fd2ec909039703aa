"""Checks the factors of an ablation: each level must make a valid trial, and their design must be possible."""

import itertools
from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from orchestrator.studyfile.checks.ablation_in_file import AblationFile, level_text, trial_mistakes
from orchestrator.studyfile.sections.comparison import AblationPath, BestOf, Factorial, Fractional, Levels, Winner
from orchestrator.studyfile.space.domain import Choice, Float, Int, Tree
from orchestrator.studyfile.space.trees import TRIAL_KEYS, acting, content, order_levels, same_level, trial_of
from trainable.configfile.mistakes import Mistake, unknown

MOST_FRACTIONAL = 12
"""Factors of a fractional design; the number of its aliases doubles with each."""

Base = Mapping[str, JsonValue]


def factor_mistakes(file: AblationFile, base: Base) -> list[Mistake]:
    """What is wrong with the factors and their design; what follows from a mistake is not told."""
    factors = file.section.read_factors()
    mistakes = [mistake for path, levels in factors.items() for mistake in _levels(file, base, path, levels)]
    mistakes += _design(file, factors)
    mistakes = mistakes or [*_overlaps(file, factors), *_pairs(file, base, factors)]
    return mistakes or [*_membership(file, base, factors), *_end(file, base)]


def _levels(file: AblationFile, base: Base, path: str, levels: Levels) -> Iterator[Mistake]:
    if (key := path.split(".")[0]) not in TRIAL_KEYS:
        yield file.mistake(unknown(key, TRIAL_KEYS, "key"), "factors", path)
        return
    if len(levels) < 2:
        yield file.mistake(f"needs at least two levels, got {len(levels)}", "factors", path)
    valid = True
    for index, level in enumerate(levels):
        if any(same_level(level, earlier) for earlier in levels[:index]):
            yield file.mistake(f"lists the level {level_text(level)} twice", "factors", path, index)
        for mistake in trial_mistakes(base, {path: level}):
            valid = False
            if mistake.message.startswith("unknown key") and path.startswith(mistake.path):
                yield file.mistake(mistake.message, "factors", path)
                return
            message = mistake.message if mistake.path.startswith(path) else f"{mistake.path}: {mistake.message}"
            yield file.mistake(message, "factors", path, index)
    if valid and len(levels) >= 2:
        yield from _equal_levels(file, base, path, levels)


def _equal_levels(file: AblationFile, base: Base, path: str, levels: Levels) -> Iterator[Mistake]:
    """Levels that are written differently and mean the same; a whole factor that means nothing at the baseline."""
    combined = isinstance(file.section.design, Factorial | Fractional | AblationPath)
    of_trial = content if combined else acting  # beside another factor's levels a setting may act
    contents = [of_trial(trial_of(base, {path: level})) for level in levels]
    if len(set(contents)) == 1:
        presets = combined and "preset" in file.section.read_factors()
        if not presets:  # else it may mean something under another preset
            message = "its levels give one configuration: they mean the same, have no effect beside the baseline's "
            message += "settings, or its preset replaces them"
            yield file.mistake(message, "factors", path)
        return
    for index, level in enumerate(levels):
        first = contents.index(contents[index])
        if first < index and not any(same_level(level, earlier) for earlier in levels[:index]):
            message = f"the level {level_text(level)} is the same as {level_text(levels[first])}"
            yield file.mistake(message, "factors", path, index)


def _overlaps(file: AblationFile, factors: Mapping[str, Levels]) -> Iterator[Mistake]:
    for one, other in itertools.permutations(factors, 2):
        if other.startswith(f"{one}."):
            yield file.mistake(f"lies within the factor {one}; vary one of them", "factors", other)


def _design(file: AblationFile, factors: Mapping[str, Levels]) -> Iterator[Mistake]:
    design = file.section.design
    match design:
        case Fractional():
            yield from _fraction(file, design, factors)
        case AblationPath():
            yield from _target(file, design, factors)


def _fraction(file: AblationFile, design: Fractional, factors: Mapping[str, Levels]) -> Iterator[Mistake]:
    for path, levels in factors.items():
        if len(levels) > 2:
            message = f"a fractional design has two levels of each factor, got {len(levels)}"
            yield file.mistake(message, "factors", path)
    if len(factors) < design.resolution:
        message = f"resolution {design.resolution} needs at least {design.resolution} factors, got {len(factors)}"
        yield file.mistake(f"{message}; use factorial", "design")
    if len(factors) > MOST_FRACTIONAL:
        yield file.mistake(f"a fractional design takes at most {MOST_FRACTIONAL} factors, got {len(factors)}", "design")


def _target(file: AblationFile, design: AblationPath, factors: Mapping[str, Levels]) -> Iterator[Mistake]:
    for path, level in design.target.items():
        if path not in factors:
            yield file.mistake(unknown(path, tuple(factors), "factor"), "design", "target", path)
        elif not any(same_level(level, known) for known in factors[path]):
            message = f"{level_text(level)} is not among the levels {', '.join(map(level_text, factors[path]))}"
            yield file.mistake(message, "design", "target", path)
    for path in factors:
        if path not in design.target:
            yield file.mistake(f"gives no level of the factor {path}", "design", "target")


def _membership(file: AblationFile, base: Base, factors: Mapping[str, Levels]) -> Iterator[Mistake]:
    """A design over combinations begins at the baseline, so the baseline's value must be a level of each factor."""
    design, baseline = file.section.design, file.baseline
    if not isinstance(design, Factorial | Fractional | AblationPath) or isinstance(baseline, BestOf):
        return
    for path, levels in factors.items():
        searched = _at(file.space.tree, path) if isinstance(baseline, Winner) else None
        problem = _outside(searched, levels) if isinstance(searched, Float | Int | Choice) else None
        if problem is None:  # a preset may replace what is searched
            ordered, listed = order_levels(base, path, levels)
            problem = None if listed else f"the baseline's value {level_text(ordered[0])} is not among the levels"
        if problem is not None:
            yield file.mistake(problem, "factors", path)


def _end(file: AblationFile, base: Base) -> Iterator[Mistake]:
    """Where a path ends: at a valid trial that is not the baseline."""
    design = file.section.design
    if not isinstance(design, AblationPath):
        return
    wrong = trial_mistakes(base, design.target)
    for mistake in wrong:
        yield file.mistake(f"{mistake.path}: {mistake.message}", "design", "target")
    known = not isinstance(file.baseline, Winner | BestOf)
    if known and not wrong and content(trial_of(base)) == content(trial_of(base, design.target)):
        yield file.mistake("is the baseline: there is no way to go", "design", "target")


def _outside(domain: Float | Int | Choice, levels: Levels) -> str | None:
    """Why the winner's value may not be among the levels."""
    if not isinstance(domain, Choice):
        return (
            "the winner's value is searched in a range and need not be among the levels; use one_at_a_time, or give "
            "the baseline a value"
        )
    missing = [option for option in domain.options if not any(same_level(option, level) for level in levels)]
    return f"the winner's value may be {', '.join(map(level_text, missing))}: not among the levels" if missing else None


def _at(tree: Tree, path: str) -> Tree:
    """What stands at a path of a search space; a domain on the way there stands for what is under it."""
    for key in path.split("."):
        if not isinstance(tree, dict):
            break
        tree = tree.get(key)
    return tree


def _pairs(file: AblationFile, base: Base, factors: Mapping[str, Levels]) -> Iterator[Mistake]:
    """Two levels that make no trial together though each of them alone does."""
    if not isinstance(file.section.design, Factorial | Fractional | AblationPath):
        return
    for one, other in itertools.combinations(factors, 2):
        for levels in itertools.product(factors[one], factors[other]):
            values = dict(zip((one, other), levels, strict=True))
            for mistake in trial_mistakes(base, values):
                with_what = " with ".join(f"{path}={level_text(level)}" for path, level in values.items())
                yield file.mistake(f"{with_what}: {mistake.path}: {mistake.message}", "factors", other)
