"""Studies of class suppression: Optuna decides, Ray Tune executes, trial directories remember, MLflow shows.

::

    import orchestrator

    study = orchestrator.run("search_spaces/shapes.yaml")      # or load_study("studies/shapes")
    study.best, study.frame(), study.differences(), study.answer
    masks = orchestrator.predict(study, "photos/")
    orchestrator.compare(study, "studies/other")

Names are imported when they are first used, so that ``import orchestrator`` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.api.comparing import StudyComparison as StudyComparison
    from orchestrator.api.comparing import compare as compare
    from orchestrator.api.loading import load_study as load_study
    from orchestrator.api.predicting import load_model as load_model
    from orchestrator.api.predicting import load_predictor as load_predictor
    from orchestrator.api.predicting import predict as predict
    from orchestrator.api.running import run as run
    from orchestrator.api.study import Study as Study
    from orchestrator.api.trial import Trial as Trial
    from orchestrator.errors import InputError as InputError
    from orchestrator.errors import TryAgain as TryAgain

__version__ = "0.1.0"

_HOMES = {
    "InputError": "orchestrator.errors",
    "Study": "orchestrator.api.study",
    "StudyComparison": "orchestrator.api.comparing",
    "Trial": "orchestrator.api.trial",
    "TryAgain": "orchestrator.errors",
    "compare": "orchestrator.api.comparing",
    "load_model": "orchestrator.api.predicting",
    "load_predictor": "orchestrator.api.predicting",
    "load_study": "orchestrator.api.loading",
    "predict": "orchestrator.api.predicting",
    "run": "orchestrator.api.running",
}
"""Where each public name is defined; a module of this package that bore one of them would take its place."""

__all__ = [
    "InputError",
    "Study",
    "StudyComparison",
    "Trial",
    "TryAgain",
    "compare",
    "load_model",
    "load_predictor",
    "load_study",
    "predict",
    "run",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'; it has {', '.join(__all__)}")
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
