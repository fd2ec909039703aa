"""A study that MLflow is told of without a directory behind it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.store.kept_study import KeptStudy
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record
from orchestrator.tracking import StudyInfo
from orchestrator.tracking.study_info import DataSource

STUDY = {"study": "study", "objective": {"metric": "val/miou", "mode": "max"}, "tracking": {"experiment": "exp"}}


def made_in_memory(_record: Record) -> DataSource:
    """Data that are nowhere."""
    return DataSource("shapes", "abc", "made in memory", {})


def no_tags(_key: str) -> Mapping[str, str]:
    """None."""
    return {}


def no_plan(_kind: str) -> str | None:
    """None."""
    return None


def no_files(_record: Record, _folder: Path) -> None:
    """Write nothing."""


class FakeStudy(StudyInfo):
    """Tells what it was given; a process of its own can be told of it, as long as that is picklable."""

    def __init__(
        self,
        *,
        study_id: str = "1234",
        settings: Mapping[str, Any] | None = None,
        from_env: Mapping[str, str] | None = None,
        data: Callable[[Record], DataSource] = made_in_memory,
        trial_tags: Callable[[str], Mapping[str, str]] = no_tags,
        plan_hash: Callable[[str], str | None] = no_plan,
        write_trial: Callable[[Record, Path], None] = no_files,
        draw_data: Callable[[Path], None] | None = None,
    ) -> None:
        kept = KeptStudy(study_id, {**STUDY, **(settings or {})}, from_env=from_env or {})
        super().__init__(Store("nowhere", "study"), kept, draw_data)
        self.data, self.trial_tags, self.plan_hash = data, trial_tags, plan_hash  # type: ignore[method-assign]
        self.write_trial = write_trial  # type: ignore[method-assign]

    def tags(self) -> Mapping[str, str]:
        return {}

    def write_study(self, folder: Path) -> None: ...

    def log_model(self, client: Any, run_ids: Mapping[str, str]) -> None: ...
