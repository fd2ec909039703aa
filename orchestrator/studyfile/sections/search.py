"""The ``search`` section of a study file: sampler, budget, pruner, reference trials."""

import re
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator

from trainable.presets import Preset
from trainable.section import Section, Seed

STUDY_NAME = r"^[A-Za-z0-9_]([A-Za-z0-9._-]{0,198}[A-Za-z0-9_-])?$"
"""A study's name: it names a folder, an MLflow experiment and a URL, and is a word of commands, no option."""
STUDY_NAME_RULE = (
    "expected a plain word of at most 200 letters, digits, '.', '-', '_' that "
    "does not begin with '.' or '-' nor end with '.'"
)


def _study_name(name: str) -> str:
    if not re.fullmatch(STUDY_NAME, name):
        raise ValueError(f"{STUDY_NAME_RULE}; got '{name}'")
    return name


StudyName: TypeAlias = Annotated[
    str, AfterValidator(_study_name), WithJsonSchema({"type": "string", "pattern": STUDY_NAME})
]

MOST_TRIALS = 100_000
"""Every trial is a folder, and whatever continues a study reads all of them."""
AtLeast0: TypeAlias = Annotated[int, Field(ge=0, le=MOST_TRIALS)]
AtLeast1: TypeAlias = Annotated[int, Field(ge=1, le=MOST_TRIALS)]


class TPE(Section):
    """Tree-structured Parzen estimator: any space, conditional ones too.

    Beyond 1,000 ended trials, those it holds for the best (of all trials) are compared with the latest 1,000 others.
    """

    name: Literal["tpe"]
    startup_trials: AtLeast0 = 10
    """Random trials before the model is used."""


class GP(Section):
    """Gaussian process: small flat spaces of slow trials."""

    name: Literal["gp"]
    startup_trials: AtLeast0 = 10
    """Random trials before the model is used."""


class Random(Section):
    """Independent random picks."""

    name: Literal["random"]


class QMC(Section):
    """Quasi-Monte Carlo (scrambled Sobol): evenly spread picks from a flat space."""

    name: Literal["qmc"]


class NSGAII(Section):
    """NSGA-II: an evolutionary search, made for several objectives."""

    name: Literal["nsgaii"]
    population: Annotated[int, Field(ge=2, le=MOST_TRIALS)] = 50
    """Trials per generation."""


class CMAES(Section):
    """CMA-ES: an evolution strategy over two or more numeric domains."""

    name: Literal["cmaes"]
    startup_trials: AtLeast0 = 1
    """Random trials before the strategy starts."""


class Grid(Section):
    """Every configuration of a finite space, in the order of the file."""

    name: Literal["grid"]


Sampler: TypeAlias = Annotated[TPE | GP | Random | QMC | NSGAII | CMAES | Grid, Field(discriminator="name")]


class _Graceful(Section):
    name: str
    grace_epochs: AtLeast1 | None = None
    """Epochs before a trial may be pruned; null: max(3, epochs // 6) after the latest suppression.start, at most all of
    them, and at least half of those after it where suppression.schedule, loss_ramp or start is searched."""

    def grace(self, epochs: int, *, ramps_differ: bool = False, plain_epochs: int = 0) -> int:
        """Epochs before a trial of this length may be pruned, of which the longest plain beginning takes some.

        A pruner compares trials by the path that is evaluated. Where that of one trial has the whole weight of the loss
        from the start and that of another hardly any, it would choose the ramp, not the method.
        """
        if self.grace_epochs is not None:
            return self.grace_epochs
        half = (epochs - plain_epochs + 1) // 2 if ramps_differ else 0
        return min(epochs, plain_epochs + max(3, epochs // 6, half))


class ASHA(_Graceful):
    """Asynchronous successive halving."""

    name: Literal["asha"]
    reduction_factor: Annotated[int, Field(ge=2, le=1000)] = 3
    """One in so many trials passes each rung."""


class Hyperband(_Graceful):
    """Hyperband: successive halving with several grace periods."""

    name: Literal["hyperband"]
    reduction_factor: Annotated[int, Field(ge=2, le=1000)] = 3
    """One in so many trials passes each rung."""


class Median(_Graceful):
    """Stops a trial that is worse than the median of the earlier ones at the same epoch."""

    name: Literal["median"]
    startup_trials: AtLeast0 = 5
    """Complete trials before any is pruned."""


class Patient(Section):
    """Stops a trial that no longer improves."""

    name: Literal["patient"]
    patience: AtLeast0 = 5
    """Epochs without improvement that are tolerated."""
    min_delta: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """A smaller change of the objective is no improvement."""


Pruner: TypeAlias = Annotated[ASHA | Hyperband | Median | Patient, Field(discriminator="name")]


class SearchSection(Section):
    """How the space is searched."""

    sampler: Sampler = TPE(name="tpe")
    """Strategy: its name, or a mapping with its name and settings."""
    trials: AtLeast1 | None = None
    """Trials of the study, reference trials not counted; null only with grid: the whole grid."""
    seed: Seed = 0
    """Seed of the study; the seeds of its trials derive from it."""
    seeds: AtLeast1 | None = None
    """Seeds that the trials share, in turn: those of one seed may share what they train before suppression.start;
    null: each trial has its own."""
    pruner: Pruner | None = None
    """Early stopping: its name, or a mapping with its name and settings; null trains every trial to its end."""
    warm_start: tuple[StudyName, ...] = ()
    """Names of other studies in the same storage; their complete trials that lie in this space are imported."""
    references: tuple[Preset, ...] = ("plain", "plain_small", "official")
    """Presets that run beside the search and are never pruned, other searched values in the middle of their domains;
    a confirmation compares with the first."""

    @field_validator("references")
    @classmethod
    def _no_reference_twice(cls, references: tuple[Preset, ...]) -> tuple[Preset, ...]:
        if len(set(references)) < len(references):
            raise ValueError("lists a reference twice")
        return references
