"""Study files: their language, their checks and the search space they describe. Imports no torch."""

from orchestrator.studyfile.loading import load
from orchestrator.studyfile.sections.comparison import AblationSection, ConfirmSection
from orchestrator.studyfile.sections.resources import ResourcesSection, TrackingSection
from orchestrator.studyfile.sections.search import SearchSection
from orchestrator.studyfile.sections.study import Objective, StudySpec, first_objective
from orchestrator.studyfile.space.domain import Choice, Domain, Float, Int, Tree, Value
from orchestrator.studyfile.space.space import Pick, SearchSpace
from orchestrator.studyfile.space.stored import stored_space
from orchestrator.studyfile.study import Study, reference
from trainable.configfile.mistakes import ConfigError, Mistake

__all__ = [
    "AblationSection",
    "Choice",
    "ConfigError",
    "ConfirmSection",
    "Domain",
    "Float",
    "Int",
    "Mistake",
    "Objective",
    "Pick",
    "ResourcesSection",
    "SearchSection",
    "SearchSpace",
    "Study",
    "StudySpec",
    "TrackingSection",
    "Tree",
    "Value",
    "first_objective",
    "load",
    "reference",
    "stored_space",
]
