"""The comparing stages of a study: which arms, as which trials, on which seeds.

Blocks are paired: seed i of a stage is the same for every arm, and of a trial's seed alone derive the order of its
data, its augmentation, its draws and its initial weights.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, assert_never

from pydantic import ValidationError

from orchestrator.arms import Arm, Stage, StagePlan
from orchestrator.errors import InputError
from orchestrator.plan.designs import (
    BASELINE,
    factorial,
    fractional,
    leave_one_out,
    one_at_a_time,
    walk,
)
from orchestrator.plan.planner import derive_seed, dump
from orchestrator.records import Planned, Record
from orchestrator.spec import AblationSection, Study, reference
from orchestrator.spec.comparison import Arms, Factorial, Fractional, LeaveOneOut, OneAtATime, Path, Values, Written
from orchestrator.spec.trees import base_tree, content, order_levels, trial_of
from trainable.config import TrialConfig
from trainable.data.config import DataConfig
from trainable.data.layout import DataError, check_data, test_split

Means = Callable[[TrialConfig, Sequence[int]], float | None]
"""Mean objective of a configuration over seeds, larger is better; None while its runs have not all ended."""

SLUG_LENGTH = 80


@dataclass(frozen=True)
class Comparison:
    """A stage, ready to run as far as it is known."""

    plan: StagePlan
    configs: Mapping[str, TrialConfig]
    """Trial of each arm that runs; its seed is set by the block."""
    equal: Mapping[str, str]
    """Arms that are the same configuration as an earlier one, and its name: they run once."""

    def cells(self) -> list[Planned]:
        """All runs, block by block, so that what ends early can be compared already."""
        slugs = _slugs(list(self.configs))
        return [
            self._run(index, name, slugs[name], block, seed)
            for block, seed in enumerate(self.plan.seeds)
            for index, name in enumerate(self.configs)
        ]

    def _run(self, index: int, name: str, slug: str, block: int, seed: int) -> Planned:
        return Planned(
            key=f"{self.plan.stage}-{slug}-s{block}",
            kind=self.plan.stage,
            number=index * len(self.plan.seeds) + block,
            config=dump(self.configs[name].model_copy(update={"seed": seed})),
            picks=None,
            arm=name,
            block=block,
        )


def confirmation(study: Study, leaders: Sequence[Record]) -> Comparison:
    """The best configurations of the search and the reference trials on fresh seeds, and on the test split at the end.

    Args:
        study: A study that confirms.
        leaders: The trials to repeat, the best first.
    """
    section, search = study.spec.confirm, study.spec.search
    assert section is not None
    configs: dict[str, TrialConfig] = {name: reference(study, name, 0) for name in search.references}
    arms = [Arm(name) for name in configs]
    for record in leaders[: section.top]:
        configs[record.key] = _of_picks(study, record)
        arms.append(Arm(record.key, dict(record.planned.picks or {})))
    baseline = search.references[0] if search.references else arms[0].name
    arms.sort(key=lambda arm: arm.name != baseline)
    plan = StagePlan("confirm", "confirm", baseline, tuple(arms), _seeds(search.seed, "confirm", section.seeds))
    return _without_equal(plan, {arm.name: _tested(configs[arm.name]) for arm in arms})


def stand_in(study: Study) -> dict[str, Any]:
    """The trial as written, searched values at their middle: the baseline of an ablation that is not known yet."""
    return study.space.resolve(study.space.center())


def winning_tree(study: Study, winner: Record) -> dict[str, Any]:
    """The winner of the study's search as a tree, presets not applied yet."""
    picks = winner.planned.picks or {}
    return study.space.resolve(lambda name, _: picks[name])


def ablation(study: Study, raw: Mapping[str, Any], means: Means) -> Comparison:
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
    seeds = _seeds(section.seed, "ablation", section.seeds)
    try:
        base = base_tree(section, raw, baseline.values if isinstance(baseline, Written) else {})
        plan = _planned(section, base, seeds, lambda config: means(config, seeds))
        configs = {arm.name: _config(base, arm, plan) for arm in plan.arms}
    except (ValidationError, ValueError) as error:
        raise InputError(f"{study.path}: ablation: {_first_line(error)}") from error
    return _without_equal(plan, configs)


def winner(records: Sequence[Record], plan: StagePlan, metric: str, sign: int) -> str | None:
    """The arm of a confirmation with the best mean, references aside; None where none has a value."""
    means = {
        arm.name: fmean(values) for arm in plan.arms if arm.levels and (values := scores(records, arm.name, metric))
    }
    return max(means, key=lambda name: sign * means[name], default=None)


def scores(records: Sequence[Record], arm: str, metric: str) -> list[float]:
    """Values of an arm's complete runs."""
    found = [record.last(metric) for record in records if record.planned.arm == arm and record.state == "complete"]
    return [value for value in found if value is not None]


def _planned(
    section: AblationSection,
    base: Mapping[str, Any],
    seeds: tuple[int, ...],
    mean: Callable[[TrialConfig], float | None],
) -> StagePlan:
    design = section.design
    config = trial_of(base).model_dump(mode="json", exclude={"seed"})
    config["data"].pop("root", None)
    plan = StagePlan("ablation", design.name, BASELINE, (), seeds, base=config)
    if isinstance(design, Arms):
        return _named(plan, section.read_arms(), base)
    factors = _factors(section, base)
    plan = replace(plan, factors=factors)
    match design:
        case LeaveOneOut():
            return replace(plan, arms=tuple(leave_one_out(factors)))
        case OneAtATime():
            return replace(plan, arms=tuple(one_at_a_time(factors)))
        case Factorial():
            return replace(plan, arms=tuple(factorial(factors)))
        case Fractional():
            arms, aliases = fractional(factors, design.resolution)
            return replace(plan, arms=tuple(arms), aliases=aliases)
        case Path():
            found = walk(factors, design.target, lambda levels: mean(trial_of(base, levels)))
            return replace(plan, arms=found.arms, target=design.target, chosen=found.chosen)
        case _:
            assert_never(design)


def _named(plan: StagePlan, arms: Mapping[str, Values], base: Mapping[str, Any]) -> StagePlan:
    """The named arms; the baseline is the arm that equals it, or one more."""
    found = [Arm(name, dict(values)) for name, values in arms.items()]
    mine = content(trial_of(base))
    same = [arm.name for arm in found if content(trial_of(base, arm.levels)) == mine]
    if same:
        return replace(plan, baseline=same[0], arms=tuple(found))
    return replace(plan, arms=(Arm(_free(BASELINE, arms)), *found), baseline=_free(BASELINE, arms))


def _factors(section: AblationSection, base: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """The factors, the baseline's level first; raises ValueError where a design needs it among the levels."""
    found = {}
    for path, levels in section.read_factors().items():
        found[path], listed = order_levels(base, path, levels)
        if not listed and isinstance(section.design, Factorial | Fractional | Path):
            raise ValueError(f"factors.{path}: the baseline's value {found[path][0]!r} is not among the levels")
    return found


def _config(base: Mapping[str, Any], arm: Arm, plan: StagePlan) -> TrialConfig:
    """The trial of an arm; at the baseline's level a setting is left as it is."""
    changed = {
        path: level
        for path, level in arm.levels.items()
        if path not in plan.factors or level is not plan.factors[path][0]
    }
    return trial_of(base, changed)


def _of_picks(study: Study, record: Record) -> TrialConfig:
    picks = record.planned.picks or {}
    return study.space.trial(lambda name, _: picks[name], 0)


def expected(study: Study) -> list[TrialConfig]:
    """Trials of the ablation as far as they are known before it begins, for checks; none where that is too little."""
    if study.spec.ablation is None:
        return []
    try:
        return list(ablation(study, stand_in(study), lambda _config, _seeds: None).configs.values())
    except InputError:  # around the trial as written; around the true baseline it may be fine
        return []


def test_section(data: DataConfig) -> DataConfig | None:
    """The data section of the labelled test split; None where the data have none, or its folders are not there."""
    section = test_split(data)
    try:
        if section is not None:
            check_data(section)
    except DataError:
        return None
    return section


def _tested(config: TrialConfig) -> TrialConfig:
    """The trial, scored on the labelled test split at its end where the data have one."""
    if test_section(config.data) is None:
        return config
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"test_at_end": True})})


def _without_equal(plan: StagePlan, configs: Mapping[str, TrialConfig]) -> Comparison:
    """The comparison without arms that equal an earlier one; the baseline is the first of its kind."""
    order = sorted(configs, key=lambda name: name != plan.baseline)
    first = {content(configs[name]): name for name in reversed(order)}
    equal = {name: first[content(config)] for name, config in configs.items() if first[content(config)] != name}
    kept = tuple(arm for arm in plan.arms if arm.name not in equal)
    chosen = tuple(equal.get(name, name) for name in plan.chosen)
    return Comparison(replace(plan, arms=kept, chosen=chosen), {arm.name: configs[arm.name] for arm in kept}, equal)


def _seeds(seed: int, stage: Stage, count: int) -> tuple[int, ...]:
    return tuple(derive_seed(seed, f"{stage}/{index}") for index in range(count))


def _slugs(names: Sequence[str]) -> dict[str, str]:
    """A part of a folder's name for each arm; no two are equal."""
    found: dict[str, str] = {}
    for name in names:
        slug = re.sub(r"[^a-z0-9._]+", "-", name.lower()).strip("-.") or "arm"
        if len(slug) > SLUG_LENGTH:
            slug = f"{slug[:SLUG_LENGTH]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        found[name] = _free(slug, found.values())
    return found


def _free(name: str, taken: Any) -> str:
    while name in taken:
        name += "-2"
    return name


def _first_line(error: Exception) -> str:
    """What is wrong, of pydantic's errors the first."""
    if isinstance(error, ValidationError):
        detail = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
    return str(error)
