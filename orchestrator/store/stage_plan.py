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
from typing import Literal, Self

from pydantic import JsonValue, TypeAdapter, ValidationError

from orchestrator.errors import InputError
from orchestrator.store import layout
from orchestrator.store.objects import Objects

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
    seeds: tuple[int, ...]
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

    @property
    def hash(self) -> str:
        """Identity of what was planned; what a path finds on its way is no part of it, nor what was planned before."""
        tree = asdict(self) | {"chosen": None, "earlier": None}
        if self.design == "path":
            tree["arms"] = [arm for arm in tree["arms"] if arm["name"] == self.baseline]
        return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]

    def write(self, objects: Objects) -> None:
        """Keep the plan in the study's directory."""
        objects.write_json(layout.plan(self.stage), asdict(self) | {"hash": self.hash})

    @classmethod
    def read(cls, objects: Objects, stage: Stage) -> Self | None:
        """The plan of a stage; None where none was kept.

        Raises:
            DamagedError: what was kept is damaged.
            InputError: another version of this project wrote it in another way.
        """
        tree = objects.read_json(layout.plan(stage))
        try:
            return None if tree is None else TypeAdapter(cls).validate_python(tree)
        except ValidationError as error:
            first = error.errors()[0]
            what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise InputError(
                f"{objects.address(layout.plan(stage))}: not as this version writes it ({what})"
            ) from error
