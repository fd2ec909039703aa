"""What MLflow is told of a study. Imports no mlflow."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.spec import Objective


@dataclass(frozen=True)
class StudyInfo:
    """A study as its runs show it."""

    study_id: str
    """Identity of the study's directory: a study that is deleted and run anew opens new runs."""
    name: str
    experiment: str
    """Name of the experiment."""
    objective: Objective
    """What is optimised, the first of several."""
    settings: Mapping[str, Any]
    """Parameters of the parent run."""
    from_env: Mapping[str, str]
    """Dotted paths whose values came from ``${NAME}``, with the text as written: never logged by value."""
    data_fingerprint: Callable[[Mapping[str, Any]], str]
    """Fingerprint of the data of a trial's configuration."""
    draw_data: Callable[[Path], None]
    """Draws pictures of the data into a folder."""
