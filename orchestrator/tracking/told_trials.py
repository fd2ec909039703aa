"""The trials that MLflow was told of, and for each the one that it is compared with. Imports no mlflow."""

from collections.abc import Iterator

from orchestrator.store.stage_plan import STAGES
from orchestrator.store.trial_record import Planned, Record, reference_key
from orchestrator.tracking.study_info import StudyInfo

Role = tuple[str, int | None]
"""What a trial is the rival of: the runs of a stage on its seed, or (``search``, None)."""


class ToldTrials:
    """The latest record of every trial, masked; it outlives connections."""

    def __init__(self, study: StudyInfo) -> None:
        self._study = study
        self._records: dict[str, Record] = {}
        self._rivals: dict[Role, str] = {}

    def add(self, record: Record) -> None:
        """Take note of a trial as it may be shown."""
        planned = record.planned
        self._records[record.key] = record
        if planned.kind in STAGES and planned.arm == self._study.baseline(planned):
            self._rivals[planned.kind, planned.block] = record.key
        elif record.key == reference_key("plain"):
            self._rivals["search", None] = record.key

    def __iter__(self) -> Iterator[Record]:
        return iter(list(self._records.values()))

    def rival(self, planned: Planned) -> Record | None:
        """What a trial is compared with, as far as it is known: the baseline on its seed, or the plain reference."""
        if planned.kind == "prefix":
            return None
        role = (planned.kind, planned.block) if planned.kind in STAGES else ("search", None)
        return self._records.get(self._rivals.get(role, ""))
