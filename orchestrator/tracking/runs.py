"""The MLflow runs of one study, kept equal to its records: a parent run, and a child run per trial.

Everything is derived from the records and idempotent: ``sync`` writes what MLflow lacks of a trial. Runs of earlier
launches are found by their tags ``study_id`` and ``trial`` and topped up; none is ever opened twice.
"""

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from orchestrator.flat import flatten, short
from orchestrator.records import Planned, Record, State
from orchestrator.tracking.study_info import StudyInfo

SOURCE = "orchestrator.sweep"
"""What MLflow shows as the source of the runs."""
MAX_METRICS, MAX_PARAMS, MAX_VALUE = 1000, 100, 6000
"""MLflow's limits: metrics and parameters per batch, characters per value."""
PAGE_SIZE = 1000

_STATUS = {
    State.COMPLETE: "FINISHED",
    State.PRUNED: "FINISHED",
    State.FAILED: "FAILED",
    State.INTERRUPTED: "KILLED",
}


@dataclass
class _Child:
    """What MLflow is known to hold of a trial."""

    run_id: str
    epochs: int = 0
    has_params: bool = False
    has_reason: bool = False
    state: State | None = None
    """None for a run of an earlier launch, whose state is written anew."""


class StudyRuns:
    """Connects to MLflow and finds or opens the study's experiment and parent run.

    Raises:
        MlflowException: MLflow cannot be reached or refuses; so may every method.
    """

    def __init__(self, uri: str, study: StudyInfo) -> None:
        # A dead server must be noticed in seconds: the tracker tries again by itself.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._client = MlflowClient(uri)
        self._study = study
        self.experiment_id = self._open_experiment()
        self._children: dict[str, _Child] = {}
        self._parent = self._adopt() or self._open_parent()

    def sync(self, record: Record) -> None:
        """Write what MLflow lacks of a trial: its run, its settings, its epochs, its state."""
        child = self._children.get(record.key)
        if child is None:
            child = self._children[record.key] = self._open_child(record.planned)
        params = [] if child.has_params else self._params(_settings(record.planned))
        metrics = _metrics_after(child.epochs, record)
        tags = [RunTag("epochs", str(len(record.epochs)))] if metrics else []
        changed = child.state is not record.state
        if changed:
            tags += _state_tags(record)
        self._log(child.run_id, metrics, params, tags)
        child.has_params, child.epochs = True, max(child.epochs, len(record.epochs))
        if changed:
            self._change_state(child, record)

    def log_pictures(self) -> None:
        """Draw the data and keep the pictures with the parent run, once per study."""
        if "data_pictures" in self._client.get_run(self._parent).data.tags:
            return
        with TemporaryDirectory() as folder:
            self._study.draw_data(Path(folder))
            self._client.log_artifacts(self._parent, folder, "data")
        self._client.set_tag(self._parent, "data_pictures", "data")

    def finish(self, status: str, summary: Mapping[str, float]) -> None:
        """End the parent run with its final metrics."""
        for name, value in summary.items():
            self._client.log_metric(self._parent, name, value)
        self._client.set_terminated(self._parent, status)

    def _open_experiment(self) -> str:
        name = self._study.experiment
        found = self._client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "deleted":
            raise MlflowException(f"experiment {name!r} was deleted; restore it or set tracking.experiment")
        experiment_id = found.experiment_id if found else self._client.create_experiment(name)
        objective = self._study.objective  # the charts of the experiment start with it
        self._client.set_experiment_tag(experiment_id, "mlflow.experiment.primaryMetric.name", objective.metric)
        greater = str(objective.mode == "max")
        self._client.set_experiment_tag(experiment_id, "mlflow.experiment.primaryMetric.greaterIsBetter", greater)
        return str(experiment_id)

    def _adopt(self) -> str | None:
        """Find the runs of earlier launches; returns the parent's, reopened."""
        parent = None
        for run in self._runs():
            key = run.data.tags.get("trial")
            if key is None:
                parent = str(run.info.run_id)
                self._client.update_run(parent, "RUNNING")
            else:
                epochs = int(run.data.tags.get("epochs", 0))
                self._children[key] = _Child(
                    run.info.run_id, epochs, has_params=bool(run.data.params), has_reason="reason" in run.data.tags
                )
        return parent

    def _runs(self) -> list[Run]:
        runs: list[Run] = []
        token = None
        while True:
            mine = f"tags.study_id = '{self._study.study_id}'"
            page = self._client.search_runs([self.experiment_id], mine, max_results=PAGE_SIZE, page_token=token)
            runs.extend(page)
            token = page.token
            if not token:
                return runs

    def _open_parent(self) -> str:
        run_id = self._open_run({"mlflow.runName": self._study.name, "kind": "study"})
        self._log(run_id, [], self._params(self._study.settings), [])
        return run_id

    def _open_child(self, planned: Planned) -> _Child:
        tags = {
            "trial": planned.key,
            "kind": planned.kind,
            "seed": str(planned.config["seed"]),
            "data_fingerprint": self._study.data_fingerprint(planned.config),
            "mlflow.runName": _run_name(planned),
            "mlflow.parentRunId": self._parent,
        }
        return _Child(self._open_run(tags), state=State.RUNNING)

    def _open_run(self, tags: Mapping[str, str]) -> str:
        own = {"study": self._study.name, "study_id": self._study.study_id, "mlflow.source.name": SOURCE}
        return str(self._client.create_run(self.experiment_id, tags={**own, **tags}).info.run_id)

    def _change_state(self, child: _Child, record: Record) -> None:
        if child.has_reason and not record.reason:  # of an earlier launch that was interrupted
            self._client.delete_tag(child.run_id, "reason")
            child.has_reason = False
        if record.state is State.RUNNING:
            self._client.update_run(child.run_id, "RUNNING")
        else:
            self._client.set_terminated(child.run_id, _STATUS[record.state])
        child.state = record.state

    def _params(self, tree: Mapping[str, Any]) -> list[Param]:
        flat = {name: self._study.from_env.get(name, value) for name, value in flatten(tree).items()}
        return [Param(name, str(value)[:MAX_VALUE]) for name, value in flat.items()]

    def _log(self, run_id: str, metrics: list[Metric], params: list[Param], tags: list[RunTag]) -> None:
        """Write it all in as few batches as MLflow's limits allow, the tags with the last: they say what is there."""
        while len(metrics) > MAX_METRICS or len(params) > MAX_PARAMS:
            self._client.log_batch(run_id, metrics=metrics[:MAX_METRICS], params=params[:MAX_PARAMS])
            metrics, params = metrics[MAX_METRICS:], params[MAX_PARAMS:]
        if metrics or params or tags:
            self._client.log_batch(run_id, metrics=metrics, params=params, tags=tags)


def _metrics_after(epochs: int, record: Record) -> list[Metric]:
    now = int(time.time() * 1000)
    return [
        Metric(name, value, now, epoch)
        for epoch, metrics in enumerate(record.epochs, start=1)
        if epoch > epochs
        for name, value in metrics.items()
    ]


def _settings(planned: Planned) -> dict[str, Any]:
    """What becomes parameters: pages that compare runs take the first that differ, so the seed is not among them."""
    return {name: value for name, value in planned.config.items() if name != "seed" and value is not None}


def _run_name(planned: Planned) -> str:
    """The key and what was picked, so that tables and legends can be read without opening a run."""
    picks = (f"{name.rsplit('.', 1)[-1]}={short(value)}" for name, value in (planned.picks or {}).items())
    return " ".join([planned.key, *picks]) if planned.kind == "search" else planned.key


def _state_tags(record: Record) -> list[RunTag]:
    tags = {"state": record.state.value} | ({"reason": record.reason[:MAX_VALUE]} if record.reason else {})
    return [RunTag(name, value) for name, value in tags.items()]
