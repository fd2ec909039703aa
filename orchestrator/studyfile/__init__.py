"""Study files: their language, their checks and the search space they describe. Imports no torch."""

from orchestrator.studyfile.loading import load
from orchestrator.studyfile.sections.budget import BudgetSection
from orchestrator.studyfile.sections.comparison import AblationSection, ConfirmSection
from orchestrator.studyfile.sections.resources import ResourcesSection, TrackingSection
from orchestrator.studyfile.sections.study import Objective, objectives_of
from orchestrator.studyfile.space.domain import Choice, Domain, Float, Int, Value
from orchestrator.studyfile.space.space import SearchSpace
from orchestrator.studyfile.space.stored import stored_space
from orchestrator.studyfile.study import Study, reference
from trainable.configfile.mistakes import ConfigError

__all__ = [
    "AblationSection",
    "BudgetSection",
    "Choice",
    "ConfigError",
    "ConfirmSection",
    "Domain",
    "Float",
    "Int",
    "Objective",
    "ResourcesSection",
    "SearchSpace",
    "Study",
    "TrackingSection",
    "Value",
    "load",
    "objectives_of",
    "reference",
    "stored_space",
]
