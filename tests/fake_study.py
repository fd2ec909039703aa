"""A study that MLflow is told of without a directory behind it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.store.trial_record import Record
from orchestrator.tracking import StudyInfo
from orchestrator.tracking.study_info import DataSource


@dataclass(frozen=True, kw_only=True)
class FakeStudy(StudyInfo):
    """Tells what its fields say."""

    data_of: Callable[[Record], DataSource]
    host_of: Callable[[str], str] | None = None
    plan_hashes: Mapping[str, str] | None = None
    write: Callable[[Record, Path], None] | None = None

    def data(self, record: Record) -> DataSource:
        return self.data_of(record)

    def tags(self) -> Mapping[str, str]:
        return {}

    def trial_tags(self, key: str) -> Mapping[str, str]:
        return {"host": self.host_of(key)} if self.host_of else {}

    def plan_hash(self, kind: str) -> str | None:
        return (self.plan_hashes or {}).get(kind)

    def write_trial(self, record: Record, folder: Path) -> None:
        if self.write is not None:
            self.write(record, folder)

    def write_study(self, folder: Path) -> None: ...

    def log_model(self, client: Any, run_ids: Mapping[str, str]) -> None: ...
