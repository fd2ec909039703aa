"""What a study optimises, and the study that its sections form."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

from orchestrator.studyfile.sections.budget import BudgetSection
from orchestrator.studyfile.sections.comparison import AblationSection, ConfirmSection
from orchestrator.studyfile.sections.resources import ResourcesSection, TrackingSection
from orchestrator.studyfile.sections.search import SearchSection
from trainable.section import Section


class Objective(Section):
    """A metric to optimise; its value is that of a trial's last epoch."""

    metric: str
    """Name of a metric of evaluation or training, such as val/miou."""
    mode: Literal["max", "min"]
    """Whether larger or smaller values are better."""


def objectives_of(specification: Mapping[str, JsonValue]) -> tuple[Objective, ...]:
    """What a study optimises, from its specification as a plain tree; its trials are compared by the first."""
    written = specification["objective"]
    return tuple(map(Objective.model_validate, written if isinstance(written, list) else [written]))


@dataclass(frozen=True)
class StudySpec:
    """A study without its search space."""

    study: str
    objectives: tuple[Objective, ...]
    search: SearchSection
    """Its defaults where the file has none."""
    resources: ResourcesSection
    tracking: TrackingSection
    searched: bool = True
    """Whether the study searches; an ablation alone does not."""
    confirm: ConfirmSection | None = None
    ablation: AblationSection | None = None
    budget: BudgetSection = field(default_factory=BudgetSection)
    """Without limits where the file has none."""

    def compares(self, stage: Literal["confirm", "ablation"]) -> bool:
        """Whether the study has a comparing stage."""
        return (self.confirm if stage == "confirm" else self.ablation) is not None
