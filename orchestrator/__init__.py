"""Studies of class suppression: Optuna decides, Ray Tune executes, trial directories remember, MLflow shows.

::

    import orchestrator

    study = orchestrator.run("search_spaces/shapes.yaml")      # or load_study("studies/shapes")
    study.best, study.frame(), study.differences(), study.answer
    masks = orchestrator.predict(study, "photos/")
    orchestrator.compare(study, "studies/other")

Names are imported when they are first used, so that ``import orchestrator`` costs next to nothing.

Three of the public functions bear the name of a module: ``run`` (the driver's room of Ray), ``predict`` and ``compare``
(commands). Python sets a module as an attribute of its package the moment somebody imports it, so a function of that
name would come and go. Here the module itself can be called, whoever is first: `_CallableModule`.
"""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inspect import Signature

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
"""Where each public name is defined."""
_MODULES_TOO = ("compare", "predict", "run")
"""Functions that bear the name of a module of this package."""

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


class _CallableModule(ModuleType):
    """A module that is called as the public function of its name; its attributes stay what they are."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        return _function(self.__name__)(*args, **kwargs)

    @property
    def __signature__(self) -> "Signature":
        import inspect  # late: every command imports this package

        return inspect.signature(_function(self.__name__))

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return _function(self.__name__).__doc__


class _Package(ModuleType):
    """This package: a module that becomes its attribute can be called where it bears a public function's name."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _MODULES_TOO and type(value) is ModuleType:
            value.__class__ = _CallableModule
        super().__setattr__(name, value)


def _function(module: str) -> Callable[..., object]:
    name = module.rpartition(".")[2]
    function: Callable[..., object] = getattr(importlib.import_module(_HOMES[name]), name)
    return function


def __getattr__(name: str) -> object:
    if name in _MODULES_TOO:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'; it has {', '.join(__all__)}")
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


sys.modules[__name__].__class__ = _Package
