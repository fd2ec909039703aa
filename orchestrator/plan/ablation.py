"""The ablation stage: designed arms around a baseline."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import assert_never

from pydantic import JsonValue, ValidationError

from orchestrator.errors import InputError
from orchestrator.plan.comparison import Comparison, block_seeds, free, registered_looks, without_equal
from orchestrator.plan.designs import BASELINE, factorial, fractional, leave_one_out, one_at_a_time, walk
from orchestrator.plan.environment_levels import arms_as_written, levels_as_written
from orchestrator.store.stage_plan import Arm, StagePlan
from orchestrator.store.trial_record import Record
from orchestrator.studyfile import AblationSection, Study
from orchestrator.studyfile.sections.comparison import (
    AblationPath,
    Arms,
    Factorial,
    Fractional,
    LeaveOneOut,
    OneAtATime,
    Values,
)
from orchestrator.studyfile.sections.looks import most_seeds
from orchestrator.studyfile.space.trees import base_tree, content, order_levels, trial_of, without_places
from trainable.config import TrialConfig
from trainable.configfile.node import JsonObject

Means = Callable[[TrialConfig, Sequence[int]], float | None]
"""Mean objective of a configuration over seeds, larger is better; None while its runs have not all ended."""


def winning_tree(study: Study, winner: Record) -> JsonObject:
    """The winner of the study's search as a tree, presets not applied yet."""
    picks = winner.planned.picks or {}
    return study.space.resolve(lambda name, _: picks[name])


def ablation(study: Study, raw: Mapping[str, JsonValue], means: Means) -> Comparison:
    """The arms of the study's ablation; of a path those that the scores lead to.

    Args:
        study: A study with an ablation.
        raw: The trial that the baseline is made of.
        means: Scores of configurations that have run.

    Raises:
        InputError: an arm is no valid trial around this baseline, or its value is not among the levels.
    """
    section = study.spec.ablation
    assert section is not None
    baseline = section.read_baseline(searched=study.spec.searched)
    seeds = block_seeds(section.seed, "ablation", most_seeds(section.seeds))
    try:
        base = base_tree(section, raw, baseline)
        plan = _planned(study, base, seeds, lambda config: means(config, seeds))
        configs = {arm.name: _config(base, arm, plan) for arm in plan.arms}
    except (ValidationError, ValueError) as error:
        raise InputError(f"{study.path}: ablation: {_first_line(error)}") from error
    return without_equal(plan, configs)


def expected(study: Study) -> list[TrialConfig]:
    """Trials of the ablation as far as they are known before it begins, for checks; none where that is too little."""
    if study.spec.ablation is None:
        return []
    try:
        return list(ablation(study, study.space.at_center(), lambda _config, _seeds: None).configs.values())
    except InputError:  # around the trial as written; around the true baseline it may be fine
        return []


def _planned(
    study: Study,
    base: Mapping[str, JsonValue],
    seeds: tuple[int, ...],
    mean: Callable[[TrialConfig], float | None],
) -> StagePlan:
    section = study.spec.ablation
    assert section is not None
    design = section.design
    looks = registered_looks(section.seeds)
    plan = StagePlan("ablation", design.name, BASELINE, (), seeds, base=_registered(base), looks=looks)
    if isinstance(design, Arms):
        return _named(plan, arms_as_written(section.read_arms(), study.from_env), base)
    factors = _factors(section, base)
    shown = levels_as_written(section.read_factors(), factors, study.from_env)
    plan = replace(plan, factors=factors, shown=shown)
    levels = {**factors, **shown}  # arms are named by what the file writes
    match design:
        case LeaveOneOut():
            return replace(plan, arms=_valued(leave_one_out(levels), plan))
        case OneAtATime():
            return replace(plan, arms=_valued(one_at_a_time(levels), plan))
        case Factorial():
            return replace(plan, arms=_valued(factorial(levels), plan))
        case Fractional():
            arms, aliases = fractional(levels, design.resolution)
            return replace(plan, arms=_valued(arms, plan), aliases=aliases)
        case AblationPath():
            target = {path: plan.shown_level(path, level) for path, level in design.target.items()}
            walked = walk(levels, target, lambda flips: mean(trial_of(base, plan.values_of(flips))))
            return replace(plan, arms=_valued(walked.arms, plan), target=design.target, chosen=walked.chosen)
        case _:
            assert_never(design)


def _valued(arms: Sequence[Arm], plan: StagePlan) -> tuple[Arm, ...]:
    """The arms with the values of their levels."""
    return tuple(replace(arm, levels=plan.values_of(arm.levels)) for arm in arms)


def _registered(base: Mapping[str, JsonValue]) -> JsonObject:
    """What the arms change, in full: its preset by name, for an arm that names another one replaces it."""
    config = trial_of({**base, "preset": None}).model_dump(mode="json", exclude={"seed"})
    return without_places(config) | {"preset": base.get("preset")}


def _named(plan: StagePlan, arms: Mapping[str, Values], base: Mapping[str, JsonValue]) -> StagePlan:
    """The named arms; the baseline is the arm that equals it, or one more."""
    named = tuple(Arm(name, dict(values)) for name, values in arms.items())
    unchanged = content(trial_of(base))
    same = [arm.name for arm in named if content(trial_of(base, arm.levels)) == unchanged]
    if same:
        return replace(plan, baseline=same[0], arms=named)
    return replace(plan, arms=(Arm(free(BASELINE, arms)), *named), baseline=free(BASELINE, arms))


def _factors(section: AblationSection, base: Mapping[str, JsonValue]) -> dict[str, tuple[JsonValue, ...]]:
    """The factors, the baseline's level first; raises ValueError where a design needs it among the levels."""
    factors = {}
    for path, levels in section.read_factors().items():
        factors[path], listed = order_levels(base, path, levels)
        if not listed and isinstance(section.design, Factorial | Fractional | AblationPath):
            raise ValueError(f"factors.{path}: the baseline's value {factors[path][0]!r} is not among the levels")
    return factors


def _config(base: Mapping[str, JsonValue], arm: Arm, plan: StagePlan) -> TrialConfig:
    """The trial of an arm; at the baseline's level a setting is left as it is."""
    changed = {
        path: level
        for path, level in arm.levels.items()
        if path not in plan.factors or level is not plan.factors[path][0]
    }
    return trial_of(base, changed)


def _first_line(error: Exception) -> str:
    """What is wrong, of pydantic's errors the first."""
    if isinstance(error, ValidationError):
        detail = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
    return str(error)
