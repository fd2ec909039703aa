"""What a launch runs next, and what it knows of a comparing stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.plan.trial_source import TrialSource
from orchestrator.store.stage_plan import StagePlan
from orchestrator.store.trial_record import Planned, Record
from orchestrator.studyfile.space.trees import content
from trainable.config import read_trial
from trainable.configfile.node import JsonObject

Identity = tuple[str, int]
"""Content and seed of a run: equal ones are one run."""


@dataclass(frozen=True)
class Round:
    """Trials that can run now."""

    stage: str
    planner: TrialSource
    known: Sequence[Record]
    """Trials of the stage that earlier launches left."""
    epochs: int
    """Of the longest trial."""
    title: str
    """What runs, in a line."""
    label: str = ""
    """What runs, in a word: the stage, or the prefixes that its trials share."""
    inherited: int = 0
    """Epochs that trials take over from prefixes, as far as that is known."""


@dataclass
class StageProgress:
    """How far a comparing stage has come in this launch."""

    plan: StagePlan
    runs: Mapping[str, Planned]
    """Every run of the plan by its key."""
    before: StagePlan | None
    """The plan that earlier launches registered."""
    written: StagePlan | None
    """The plan as it now lies in the study's directory."""
    due: Mapping[str, Planned] = field(default_factory=dict)
    """The runs that are to end by the next look; every run where nobody looks before the end."""


def identity(config: JsonObject) -> Identity:
    """What tells a run from others of its stage."""
    trial = read_trial(config)
    return content(trial), trial.seed


def named(record: Record, planned: Planned) -> Record:
    """A run with its place in the plan as it is now written."""
    placed = replace(record.planned, arm=planned.arm, block=planned.block, number=planned.number)
    return replace(record, planned=placed)
