"""What MLflow is told of a study. Imports no mlflow."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.store.masking import shown
from orchestrator.store.trial_record import Record
from orchestrator.studyfile import Objective
from trainable.configfile.node import JsonObject, Scalar

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class DataSource:
    """The data of a trial, as MLflow shows data sets."""

    name: str
    digest: str
    """Fingerprint of the files."""
    source: str
    """Where the files lie, as the study file writes it."""
    settings: Mapping[str, Scalar]
    """The data section but for the place."""


@dataclass(frozen=True, kw_only=True)
class StudyInfo(ABC):
    """A study as its runs show it."""

    study_id: str
    """Identity of the study's directory: a study that is deleted and run anew opens new runs."""
    name: str
    experiment: str
    """Name of the experiment."""
    objective: Objective
    """What is optimised, the first of several."""
    settings: JsonObject
    """Parameters of the parent run: the study as written, environment variables by name."""
    from_env: Mapping[str, str] = field(default_factory=dict)
    """Dotted paths whose values came from ``${NAME}``, with the text as written: never logged by value."""
    searched: tuple[str, ...] = ()
    """Dotted paths of what is searched or compared, in the order of the file."""
    draw_data: Callable[[Path], None] | None = None
    """Draws pictures of the data into a folder; None where the data are not at hand."""

    def shown(self, record: Record) -> Record:
        """A trial as MLflow may be told of it."""
        return shown(record, self.from_env)

    @abstractmethod
    def data(self, record: Record) -> DataSource:
        """The data of a trial."""

    @abstractmethod
    def tags(self) -> Mapping[str, str]:
        """Tags of every run: versions, git commit."""

    @abstractmethod
    def trial_tags(self, key: str) -> Mapping[str, str]:
        """Tags of a trial that its worker knows: host, GPU."""

    @abstractmethod
    def plan_hash(self, kind: str) -> str | None:
        """Hash of what the stage whose runs are of this kind planned; None where that is no comparison."""

    @abstractmethod
    def write_trial(self, record: Record, folder: Path) -> None:
        """Write what is to be seen of an ended trial into a folder."""

    @abstractmethod
    def write_study(self, folder: Path) -> None:
        """Write what is to be seen of the study at its end into a folder."""

    @abstractmethod
    def log_model(self, client: "MlflowClient", run_ids: Mapping[str, str]) -> None:
        """Log the best trial's model, given the id of each trial's run."""
