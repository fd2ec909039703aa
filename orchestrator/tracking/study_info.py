"""What MLflow is told of a study. Imports no mlflow."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.store.trial_record import Record
from orchestrator.studyfile import Objective


@dataclass(frozen=True)
class DataSource:
    """The data of a trial, as MLflow shows data sets."""

    name: str
    digest: str
    """Fingerprint of the files."""
    source: str
    """Where the files lie, as the study file writes it."""
    settings: Mapping[str, Any]
    """The data section but for the place."""


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
    """Parameters of the parent run: the study as written, environment variables by name."""
    from_env: Mapping[str, str]
    """Dotted paths whose values came from ``${NAME}``, with the text as written: never logged by value."""
    data: Callable[[Mapping[str, Any]], DataSource]
    """The data of a trial's configuration."""
    tags: Callable[[], Mapping[str, str]] = dict
    """Tags of every run: versions, git commit."""
    trial_tags: Callable[[str], Mapping[str, str]] = lambda _key: {}
    """Tags of a trial that its worker knows, by the trial's key: host, GPU."""
    searched: tuple[str, ...] = ()
    """Dotted paths of what is searched or compared, in the order of the file."""
    plan_hash: Callable[[str], str | None] = lambda _stage: None
    """Hash of what a comparing stage planned before its first run."""
    write_trial: Callable[[Record, Path], None] = lambda _record, _folder: None
    """Writes what is to be seen of an ended trial into a folder."""
    write_study: Callable[[Path], None] = lambda _folder: None
    """Writes what is to be seen of the study at its end into a folder."""
    draw_data: Callable[[Path], None] | None = None
    """Draws pictures of the data into a folder; None where the data are not at hand."""
    log_model: Callable[[Any, Mapping[str, str]], None] | None = None
    """Logs the best trial's model, given the MLflow client and the id of each trial's run."""
