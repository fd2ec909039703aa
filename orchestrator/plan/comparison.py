"""The comparing stages of a study: which arms, as which trials, on which seeds.

Blocks are paired: seed i of a stage is the same for every arm, and of a trial's seed alone derive the order of its
data, its augmentation, its draws and its initial weights.
"""

import hashlib
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.plan.planner import derive_seed, dump
from orchestrator.store.looks import Looks
from orchestrator.store.stage_plan import Stage, StagePlan
from orchestrator.store.trial_record import Planned
from orchestrator.studyfile.sections.looks import ALPHA, LooksSection
from orchestrator.studyfile.space.trees import acting
from trainable.config import TrialConfig

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
        stage, seeds, slugs = self.plan.stage, self.plan.seeds, _slugs(list(self.configs))
        return [
            Planned(
                key=f"{stage}-{slugs[name]}-s{block}",
                kind=stage,
                number=index * len(seeds) + block,
                config=dump(config.model_copy(update={"seed": seed})),
                picks=None,
                arm=name,
                block=block,
            )
            for block, seed in enumerate(seeds)
            for index, (name, config) in enumerate(self.configs.items())
        ]


def without_equal(plan: StagePlan, configs: Mapping[str, TrialConfig]) -> Comparison:
    """The comparison without arms that equal an earlier one; the baseline is the first of its kind."""
    order = sorted(configs, key=lambda name: name != plan.baseline)
    first = {acting(configs[name]): name for name in reversed(order)}
    equal = {name: first[acting(config)] for name, config in configs.items() if first[acting(config)] != name}
    kept = tuple(arm for arm in plan.arms if arm.name not in equal)
    chosen = tuple(equal.get(name, name) for name in plan.chosen)
    return Comparison(replace(plan, arms=kept, chosen=chosen), {arm.name: configs[arm.name] for arm in kept}, equal)


def block_seeds(seed: int, stage: Stage, count: int) -> tuple[int, ...]:
    """Seed of each block of a stage; more of them leave the first ones as they are."""
    return tuple(derive_seed(seed, f"{stage}/{index}") for index in range(count))


def registered_looks(seeds: int | LooksSection) -> Looks | None:
    """When arms may stop, as a plan registers it; None where every arm runs on every seed."""
    return None if isinstance(seeds, int) else Looks(seeds.looks, seeds.spending, seeds.futility, ALPHA)


def _slugs(names: Sequence[str]) -> dict[str, str]:
    """A part of a folder's name for each arm; no two are equal."""
    slugs: dict[str, str] = {}
    for name in names:
        slug = re.sub(r"[^a-z0-9._]+", "-", name.lower()).strip("-.") or "arm"
        if len(slug) > SLUG_LENGTH:
            slug = f"{slug[:SLUG_LENGTH]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        slugs[name] = free(slug, set(slugs.values()))
    return slugs


def free(name: str, taken: Container[str]) -> str:
    """The name, or one like it that is not taken."""
    while name in taken:
        name += "-2"
    return name
