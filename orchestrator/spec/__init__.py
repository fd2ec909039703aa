"""Study files: their language, their checks and the search space they describe. Imports no torch."""

from orchestrator.spec.comparison import AblationSection, ConfirmSection
from orchestrator.spec.domain import Choice, Domain, Float, Int, Tree, Value
from orchestrator.spec.loading import load
from orchestrator.spec.search import SearchSection
from orchestrator.spec.sections import Objective, ResourcesSection, StudySpec, TrackingSection, first_objective
from orchestrator.spec.space import Pick, SearchSpace
from orchestrator.spec.study import Study, reference
from trainable.configfile.mistakes import Mistake, SpecError

__all__ = [
    "AblationSection",
    "Choice",
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
    "SpecError",
    "Study",
    "StudySpec",
    "TrackingSection",
    "Tree",
    "Value",
    "first_objective",
    "load",
    "reference",
]
