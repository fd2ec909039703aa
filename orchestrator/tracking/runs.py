"""The MLflow runs of one study, kept equal to its records: a parent run, and a child run per trial.

Everything is derived from the records and from what MLflow holds: ``sync`` writes what it lacks of a trial. Runs are
found by their tags ``study_id`` and ``trial`` and topped up; none is ever opened twice, no epoch is written twice.
After any error a new ``StudyRuns`` reads anew what arrived. Trials may be written by several threads, each by one.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from http.client import BAD_REQUEST
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

from mlflow.entities import DatasetInput, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from orchestrator.store.trial_record import Record, State
from orchestrator.tracking.client import connect
from orchestrator.tracking.entries import (
    MAX_KEY,
    RunEntries,
    data_input,
    final_metrics,
    metrics_after,
    params,
    tags,
    trial_params,
    trial_tags,
)
from orchestrator.tracking.experiment import describe_experiment, open_experiment, set_views, view_links
from orchestrator.tracking.links import Links
from orchestrator.tracking.notes import NOTE, replaces
from orchestrator.tracking.provenance import VERSION
from orchestrator.tracking.side_by_side import side_by_side
from orchestrator.tracking.study_info import StudyInfo
from orchestrator.tracking.told_trials import ToldTrials
from orchestrator.tracking.tracked_run import STATUS, TrackedRun, tracked
from orchestrator.tracking.transactions import Transactions

NAME = "mlflow.runName"
SOURCE = "orchestrator.sweep"
"""What MLflow shows as the source of the runs."""
CONNECTIONS = 4
"""Requests that a server gets at a time: as many as it has processes by default, each with 40 ms of waiting."""


class StudyRuns:
    """Connects to MLflow and finds or opens the study's experiment and parent run.

    Raises:
        MlflowException: MLflow cannot be reached or refuses; so may every method.
    """

    def __init__(self, uri: str, study: StudyInfo, told: ToldTrials | None = None) -> None:
        """Connect; ``told`` are trials that an earlier connection told of, and takes up those of this one."""
        self.client = connect(uri)
        self._study = study
        self._common = {
            "study": study.name,
            "study_id": study.study_id,
            "mlflow.source.name": SOURCE,
            "mlflow.source.type": "LOCAL",
            **study.tags(),
        }
        self._first = [objective.metric for objective in study.objectives], study.columns
        self._children: dict[str, TrackedRun] = {}
        self._told = ToldTrials(study) if told is None else told
        self._registered: set[str] = set()
        self._data: set[tuple[str, str]] = set()
        self._one_by_one = Lock()
        self.transactions = Transactions(self.client)
        with self.transactions.joined():
            self.experiment_id = open_experiment(self.client, study)
            self._parent = self._adopt() or self._open_parent()
        versions = self._parent.tags
        self._of_trials = {
            name: value
            for name, value in self._common.items()
            if not name.startswith(VERSION) or versions.get(name) != value
        }

    @property
    def connections(self) -> int:
        """How many trials may be written at a time: a database takes one after the other."""
        return 1 if self.transactions.of_database else CONNECTIONS

    def sync(self, record: Record, times: Sequence[int]) -> None:
        """Write what MLflow lacks of a trial: its run, settings, epochs (which ended at ``times``, in ms) and state."""
        with self._one_by_one:
            self._register_plan(record.planned.kind)
        masked = self._study.shown(record)
        self._told.add(masked)
        child = self._children.get(record.key) or self._open_child(record, masked)
        metrics, settings = self._first
        entries = RunEntries(
            metrics_after(child.steps, record, times, metrics), tags=tags(self._new_tags(child, record, masked))
        )
        entries.metrics += final_metrics(child.steps, record, self._study.objectives, times)
        if not child.has_all_params:
            self._rename(child, record)
            wanted = trial_params(record.planned, masked.planned, settings)
            entries.params = [Param(name, value) for name, value in wanted.items() if name not in child.params]
        self._log(child, entries)
        child.has_all_params = True
        if not child.has_data:
            self._log_data(child, data_input(self._study.data(record)))
        if "reason" in child.tags and not record.reason:  # of an earlier launch that was interrupted
            self.client.delete_tag(child.run_id, "reason")
            del child.tags["reason"]
        self._set_status(child, STATUS[record.state])

    def lacks_files(self, record: Record) -> bool:
        """Whether a trial's run has not got what is to be seen of its end."""
        return record.state.final and self._children[record.key].tags.get("files") != record.state.value

    def log_files(self, record: Record) -> None:
        """Keep what is to be seen of an ended trial with its run, once."""
        child = self._children[record.key]
        with TemporaryDirectory() as folder:
            with self._one_by_one:  # matplotlib draws in one thread
                self._study.write_trial(record, Path(folder))
            self._keep(child, folder)
        self._tag(child, "files", record.state.value)

    def log_pictures(self) -> None:
        """Draw the data and keep the pictures with the parent run, once per study."""
        if "data_pictures" in self._parent.tags or self._study.draw_data is None:
            return
        with TemporaryDirectory() as folder:
            self._study.draw_data(Path(folder))
            self._keep(self._parent, folder, "data")
        self._tag(self._parent, "data_pictures", "data")

    def log_study(self) -> None:
        """Keep the study's tables and figures with the parent run, as they are at the end of a launch."""
        with TemporaryDirectory() as folder:
            self._study.write_study(Path(folder))
            self._keep(self._parent, folder)

    def log_model(self) -> None:
        """Keep the best trial's model with its run."""
        self._study.log_model(self.client, {key: child.run_id for key, child in self._children.items()})

    def log_descriptions(self) -> None:
        """Say in the descriptions of runs and experiment what came of the study, but for what somebody edited."""
        ended = [record for record in self._told if record.state.final and record.key in self._children]
        described = [(self._children[record.key], self._note(record)) for record in ended]
        described.append((self._parent, self._study.described(self._links())))
        with self.transactions.joined():
            side_by_side(lambda of: self._describe(*of), described, self.connections)
            set_views(self.client, self.experiment_id, self._study)
            describe_experiment(self.client, self.experiment_id)

    def _describe(self, run: TrackedRun, note: str) -> None:
        if replaces(run.tags.get(NOTE), note):  # of a trial that ended before what it is compared with
            self._tag(run, NOTE, note)
            self.transactions.breathe()

    def _links(self) -> Links:
        runs = {key: child.run_id for key, child in self._children.items()}
        return Links(self.experiment_id, self._parent.run_id, runs, view_links(self._study, self.experiment_id))

    def _note(self, record: Record) -> str:
        return self._study.note(record, self._told.rival(record.planned))

    def _rename(self, child: TrackedRun, record: Record) -> None:
        """Give the run of an earlier version its short name, unless somebody gave it one."""
        name = child.tags.get(NAME)
        if name != record.key and name == self._study.former_name(record)[:MAX_KEY]:
            self.client.update_run(child.run_id, name=record.key)
            child.tags[NAME] = record.key

    def finish(self, status: str, summary: Mapping[str, float]) -> None:
        """End the parent run with its final metrics, and what else of the study is not ended: nothing runs any more.

        That are runs of trials that count for nothing now, and of those whose records are lost.
        """
        with self.transactions.joined():
            for child in self._children.values():
                if child.status == "RUNNING":
                    self._tag(child, "state", State.INTERRUPTED.value)
                    self._set_status(child, STATUS[State.INTERRUPTED])
            for name, value in summary.items():
                self.client.log_metric(self._parent.run_id, name, value)
            self._set_status(self._parent, status)

    def _adopt(self) -> TrackedRun | None:
        """Find the runs of earlier launches; returns the parent's, reopened."""
        parent = None
        for run in self._runs():
            key = run.data.tags.get("trial")
            if key in self._children or (key is None and parent is not None):
                self.client.delete_run(run.info.run_id)  # opened by a request whose answer was lost
            elif key is None:
                parent = tracked(run)
                self._set_status(parent, "RUNNING")
            else:
                self._children[key] = tracked(run)
        return parent

    def _runs(self) -> list[Run]:
        of_study, token = f"tags.study_id = '{self._study.study_id}'", None
        runs: list[Run] = []
        while True:
            page = self.client.search_runs(
                [self.experiment_id], of_study, order_by=["attributes.start_time"], page_token=token
            )
            runs.extend(page)
            token = page.token
            if not token:
                return runs

    def _open_parent(self) -> TrackedRun:
        note = self._study.begun(Links(self.experiment_id, "", {}, view_links(self._study, self.experiment_id)))
        parent = self._open_run({**self._common, NAME: self._study.name, "kind": "study", NOTE: note})
        settings = params(self._study.settings)
        self._log(parent, RunEntries(params=[Param(name, value) for name, value in settings.items()]))
        return parent

    def _register_plan(self, kind: str) -> None:
        """Tag the parent run with the hash of a comparison's plan, before the comparison's first run is told."""
        if kind not in self._registered:
            hashed = self._study.plan_hash(kind)
            if hashed is not None and self._parent.tags.get(f"plan.{kind}") != hashed:
                self._tag(self._parent, f"plan.{kind}", hashed)
            self._registered.add(kind)

    def _open_child(self, record: Record, masked: Record) -> TrackedRun:
        own = {"trial": record.key, "data_fingerprint": self._study.data(record).digest}
        own |= {NAME: record.key[:MAX_KEY], "mlflow.parentRunId": self._parent.run_id}
        own |= self._new_tags(TrackedRun("", ""), record, masked)
        child = self._open_run({**self._of_trials, **trial_tags(record.planned), **own})
        self._children[record.key] = child
        return child

    def _open_run(self, own: Mapping[str, str]) -> TrackedRun:
        named = {tag.key: tag.value for tag in tags(own)}
        run = self.client.create_run(self.experiment_id, tags=named)
        return TrackedRun(str(run.info.run_id), str(run.info.artifact_uri), tags=named)

    def _new_tags(self, child: TrackedRun, record: Record, masked: Record) -> dict[str, str]:
        wanted: dict[str, str | None] = {"state": masked.state.value, "reason": masked.reason}
        if record.state.final or child.tags.get("state") != record.state.value:
            note = self._note(record)
            wanted[NOTE] = note if replaces(child.tags.get(NOTE), note) else None
        wanted["out_of_memory"] = "; ".join(map(str, masked.setbacks))
        if masked.epochs and "host" not in child.tags:  # its worker wrote down where it runs before its first epoch
            wanted |= self._study.trial_tags(masked.key)
        return {name: value for name, value in wanted.items() if value and child.tags.get(name) != value}

    def _set_status(self, child: TrackedRun, status: str) -> None:
        if child.status == status:
            return
        if status == "RUNNING":
            self.client.update_run(child.run_id, status)
        else:
            self.client.set_terminated(child.run_id, status)
        child.status = status

    def _log(self, child: TrackedRun, entries: RunEntries) -> None:
        for piece in entries.pieces():
            self.client.log_batch(child.run_id, metrics=piece.metrics, params=piece.params, tags=piece.tags)
            child.steps |= {metric.key: metric.step for metric in piece.metrics}
            child.tags |= {tag.key: tag.value for tag in piece.tags}
            self.transactions.breathe()

    def _log_data(self, child: TrackedRun, data: DatasetInput) -> None:
        """Name the data of a run; MLflow refuses a data set that two requests bring to an experiment at once."""
        name = data.dataset.name, data.dataset.digest
        with nullcontext() if name in self._data else self._one_by_one:
            self.client.log_inputs(child.run_id, [data])
        self._data.add(name)
        child.has_data = True

    def _tag(self, run: TrackedRun, name: str, value: str) -> None:
        self.client.set_tag(run.run_id, name, value)
        run.tags[name] = value

    def _keep(self, run: TrackedRun, folder: str, below: str | None = None) -> None:
        """Keep files with a run; its client would ask for the run first, to learn where."""
        files = get_artifact_repository(run.artifacts, tracking_uri=str(self.client.tracking_uri))
        files.log_artifacts(folder, below)  # type: ignore[no-untyped-call]


def is_refusal(error: Exception) -> bool:
    """Whether MLflow answered and will answer the same again: what it was asked is at fault, not its state."""
    return isinstance(error, MlflowException) and int(error.get_http_status_code()) == BAD_REQUEST  # type: ignore[no-untyped-call]
