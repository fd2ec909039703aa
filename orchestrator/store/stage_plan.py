"""What a comparing stage of a study compares: arms over the same seeds. The contract of planner, storage and report.

A study may have up to three stages: ``search`` picks configurations one seed each; ``confirm`` runs the best of them on
fresh seeds; ``ablation`` runs designed arms. The last two are comparisons: every arm runs once on every seed, so that
arms differ in nothing else and their differences are paired by block.

Each comparing stage is kept in the study's directory: what was planned, before any result.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Literal

from pydantic import AfterValidator, JsonValue, TypeAdapter, ValidationError, ValidationInfo

from orchestrator.errors import InputError
from orchestrator.store import layout
from orchestrator.store.looks import Looks
from orchestrator.store.objects import Objects
from orchestrator.store.shapes import Whole, unlike
from orchestrator.studyfile.space.trees import same_level

Stage = Literal["confirm", "ablation"]
STAGES: tuple[Stage, ...] = ("confirm", "ablation")


@dataclass(frozen=True)
class Arm:
    """One configuration of a comparison."""

    name: str
    """Unique in its stage; column ``arm`` of the results."""
    levels: Mapping[str, JsonValue] = field(default_factory=dict)
    """Value of every factor by its dotted path (or ``preset``), as plain JSON."""


@dataclass(frozen=True)
class StagePlan:
    """A comparison as planned."""

    stage: Stage
    design: str
    """``confirm``, ``arms``, ``leave_one_out``, ``one_at_a_time``, ``factorial``, ``fractional`` or ``path``."""
    baseline: str
    """Name of the arm that the others are compared with."""
    arms: tuple[Arm, ...]
    seeds: tuple[Whole, ...]
    """Seed of each block; every arm runs once with each. Column ``block`` of the results is the position."""
    factors: Mapping[str, tuple[JsonValue, ...]] = field(default_factory=dict)
    """Levels of each factor, the baseline's first."""
    aliases: tuple[str, ...] = ()
    """What a fractional design cannot tell apart, one line each."""
    target: Mapping[str, JsonValue] = field(default_factory=dict)
    """``path``: the levels where the path ends."""
    base: Mapping[str, JsonValue] = field(default_factory=dict)
    """``ablation``: the configuration that the arms change, its preset not applied, without seed and data root."""
    chosen: tuple[str, ...] = ()
    """``path``: names of the arms on the path so far, baseline first."""
    objective: Mapping[str, str] = field(default_factory=dict)
    """Metric and mode of the first objective: what the comparison is to decide by."""
    earlier: tuple[str, ...] = ()
    """Plans of the stage that this one replaced after runs of it had begun, one line each."""
    shown: Mapping[str, tuple[JsonValue, ...]] = field(default_factory=dict)
    """Levels as the study file writes them, of factors of which some levels name environment variables."""
    looks: Looks | None = None
    """When arms may stop; None: every arm runs on every seed."""

    @property
    def hash(self) -> str:
        """Identity of what was planned; what a path finds on its way is no part of it, nor what was planned before."""
        tree = asdict(self) | {"chosen": None, "earlier": None}
        del tree["shown"]
        if self.looks is None:  # plans of versions without looks keep their hash
            del tree["looks"]
        if self.design == "path":
            tree["arms"] = [arm for arm in tree["arms"] if arm["name"] == self.baseline]
        return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]

    def shown_level(self, path: str, level: JsonValue) -> JsonValue:
        """A level of a factor as the study file writes it."""
        levels = zip(self.factors[path], self.shown[path], strict=True) if path in self.shown else ()
        return next((text for value, text in levels if same_level(value, level)), level)

    def values_of(self, levels: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """The values of levels as the study file writes them; of one that is plainly written, itself."""
        pairs = {p: list(zip(self.shown.get(p, self.factors[p]), self.factors[p], strict=True)) for p in levels}
        return {p: next(value for text, value in pairs[p] if same_level(text, level)) for p, level in levels.items()}

    def write(self, objects: Objects) -> None:
        """Keep the plan in the study's directory."""
        tree = asdict(self) | {"hash": self.hash}
        for name in ("shown", "looks"):
            if not tree[name]:
                del tree[name]
        objects.write_json(layout.plan(self.stage), tree)

    @staticmethod
    def read(objects: Objects, stage: Stage) -> "StagePlan | None":
        """The plan of a stage; None where none was kept.

        Raises:
            DamagedError: what was kept is damaged.
            InputError: another version of this project wrote it in another way.
        """
        name = layout.plan(stage)
        tree = objects.read_json(name)
        if tree is None and not objects.is_file(name):
            return None
        try:
            return _PLAN.validate_python(tree, context=stage)
        except ValidationError as error:
            remedy = "restore it, or remove it: the same launch again writes it anew"
            raise InputError(f"{objects.address(name)}: {unlike(error)}; {remedy}") from error


def _checked(plan: StagePlan, info: ValidationInfo) -> StagePlan:
    """Refuse a plan that contradicts itself."""
    names = [arm.name for arm in plan.arms]
    if plan.stage != info.context:
        raise ValueError(f"it is of the stage {plan.stage}")
    for name in (plan.baseline, *plan.chosen):
        if name not in names:
            raise ValueError(f"'{name}' is none of its arms")
    if len(names) > len(set(names)):
        raise ValueError("two arms of one name")
    if plan.looks is not None and plan.looks.seeds[-1:] != (len(plan.seeds),):
        raise ValueError(f"looks: the last is not after its {len(plan.seeds)} seeds")
    for path, texts in plan.shown.items():
        if len(texts) != len(plan.factors.get(path, ())):
            raise ValueError(f"shown.{path}: not a text for every level")
    for arm in plan.arms:
        for path, levels in plan.factors.items():
            if path in arm.levels and not any(same_level(arm.levels[path], level) for level in levels):
                raise ValueError(f"'{arm.name}' has a level that {path} does not have")
    return plan


_PLAN: TypeAdapter[StagePlan] = TypeAdapter(Annotated[StagePlan, AfterValidator(_checked)])
