"""Records -> MLflow: one parent run per study, one child run per trial. The only module that imports mlflow.

A thread of the driver writes; nobody waits for it. It works from the records and not from events: whatever MLflow lacks
of a trial is derived from the trial's latest record, so an entry that could not be written is simply written later, and
a launch that finds runs of an earlier one (by the tags ``study`` and ``trial``) tops them up and opens no new ones.
"""

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.flat import flatten, short
from orchestrator.records import Planned, Record, State
from orchestrator.spec import Objective

DEFAULT_URI = "sqlite:///mlflow.db"
LOCAL_UI = "http://127.0.0.1:5000"
"""Where ``mlflow ui`` serves its pages."""
RETRY_SECONDS = 5.0
SOURCE = "orchestrator.sweep"
"""What MLflow shows as the source of the runs."""

MAX_METRICS, MAX_PARAMS, MAX_VALUE = 1000, 100, 6000
"""MLflow's limits: metrics and parameters per batch, characters per value."""

_STATUS = {
    State.COMPLETE: "FINISHED",
    State.PRUNED: "FINISHED",
    State.FAILED: "FAILED",
    State.INTERRUPTED: "KILLED",
}


def tracking_uri(configured: str | None) -> str:
    """Where runs go: the spec's ``tracking.uri``, else MLFLOW_TRACKING_URI, else MLflow's own default."""
    return configured or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def ui_command(uri: str) -> str | None:
    """The command that serves MLflow's pages; None where ``uri`` is a server already."""
    if uri.startswith("http"):
        return None
    return "mlflow ui" if uri == DEFAULT_URI else f"mlflow ui --backend-store-uri {uri}"


@dataclass
class _Run:
    """What MLflow is known to hold of a trial."""

    run_id: str
    epochs: int = 0
    state: State | None = None
    """None for a run of an earlier launch, whose state is written anew."""


@dataclass
class _Inbox:
    """Latest records by key, handed from the driver to the writing thread."""

    changed: dict[str, Record] = field(default_factory=dict)
    closing: bool = False
    wake: threading.Condition = field(default_factory=threading.Condition)


class Tracker:
    """Keeps MLflow in step with the records; a ``Listener`` of the session.

    Args:
        uri: MLflow tracking URI.
        experiment: Name of the experiment.
        study: Name of the study, a tag of its runs.
        settings: The study's settings, parameters of the parent run.
        objective: What is optimised, the first of several; charts start with it.
        from_env: Dotted paths whose values came from ``${NAME}``, with the text as written: never logged by value.
    """

    def __init__(
        self,
        uri: str,
        *,
        experiment: str,
        study: str,
        objective: Objective,
        settings: Mapping[str, Any],
        from_env: Mapping[str, str],
    ) -> None:
        self._uri = uri
        self._experiment = experiment
        self._study = study
        self._objective = objective
        self._settings = settings
        self._from_env = from_env
        self._inbox = _Inbox()
        self._runs: dict[str, _Run] = {}
        self._client: Any = None
        self._parent = ""
        self._summary: dict[str, float] = {}
        self.problem: str | None = None
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def update(self, record: Record) -> None:
        """Take note of a trial's latest record; returns at once."""
        with self._inbox.wake:
            self._inbox.changed[record.key] = record
            self._inbox.wake.notify()

    def close(self, *, status: str, summary: Mapping[str, float], timeout: float = 60) -> str | None:
        """Write what is left, then end the parent run.

        Args:
            status: MLflow status of the parent run: FINISHED, FAILED or KILLED.
            summary: Final metrics of the parent run.
            timeout: Seconds to wait for MLflow.

        Returns:
            One line about what could not be written, or None.
        """
        self._summary = dict(summary)
        self._status = status
        with self._inbox.wake:
            self._inbox.closing = True
            self._inbox.wake.notify()
        self._thread.join(timeout)
        if self._thread.is_alive() or self.problem:
            return f"MLflow at {self._uri} is behind: {self.problem or 'no answer'}; the records hold everything"
        return None

    @property
    def page(self) -> str | None:
        """Address of the table of runs in MLflow's pages, once the experiment is known."""
        if self._client is None:
            return None
        server = self._uri if self._uri.startswith("http") else LOCAL_UI
        return f"{server.rstrip('/')}/#/experiments/{self._experiment_id}/runs?workflowType=machine_learning"

    def _work(self) -> None:
        while True:
            with self._inbox.wake:
                self._inbox.wake.wait_for(lambda: self._inbox.changed or self._inbox.closing)
                batch, self._inbox.changed = self._inbox.changed, {}
                closing = self._inbox.closing
            try:
                self._write(batch, closing)
                self.problem = None
            except Exception as error:  # MLflow in trouble must never be the study's trouble
                self.problem = " ".join(str(error).split())[:200] or type(error).__name__
                with self._inbox.wake:
                    self._inbox.changed = batch | self._inbox.changed
                if not closing:
                    time.sleep(RETRY_SECONDS)
            if closing:
                return

    def _write(self, batch: Mapping[str, Record], closing: bool) -> None:
        if self._client is None:
            self._connect()
        for record in batch.values():
            self._sync(record)
        if closing:
            for name, value in self._summary.items():
                self._client.log_metric(self._parent, name, value)
            self._client.set_terminated(self._parent, self._status)

    def _connect(self) -> None:
        import logging

        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        client = MlflowClient(self._uri)
        found = client.get_experiment_by_name(self._experiment)
        if found is not None and found.lifecycle_stage == "deleted":
            raise MlflowException(f"experiment {self._experiment!r} was deleted; restore it or set tracking.experiment")
        self._experiment_id = found.experiment_id if found else client.create_experiment(self._experiment)
        tags = {
            "mlflow.experiment.primaryMetric.name": self._objective.metric,
            "mlflow.experiment.primaryMetric.greaterIsBetter": str(self._objective.mode == "max"),
        }
        for name, value in tags.items():
            client.set_experiment_tag(self._experiment_id, name, value)
        self._client = client
        try:
            self._adopt()
        except Exception:
            self._client = None
            raise

    def _adopt(self) -> None:
        """Find the runs of earlier launches by their tags, then open or reopen the parent."""
        token = None
        parent = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id], f"tags.study = '{self._study}'", max_results=1000, page_token=token
            )
            for run in page:
                key = run.data.tags.get("trial")
                if key is None:
                    parent = run.info.run_id
                else:
                    self._runs[key] = _Run(run.info.run_id, int(run.data.tags.get("epochs", 0)))
            token = page.token
            if not token:
                break
        if parent is None:
            tags = {"study": self._study, "mlflow.runName": self._study, "kind": "study", "mlflow.source.name": SOURCE}
            parent = self._client.create_run(self._experiment_id, tags=tags).info.run_id
            self._log_params(parent, self._settings)
        else:
            self._client.update_run(parent, "RUNNING")
        self._parent = parent

    def _sync(self, record: Record) -> None:
        """Write what MLflow lacks of a trial: its run, its epochs, its verdict."""
        from mlflow.entities import Metric, RunTag  # late: mlflow takes 2 s to import

        run = self._runs.get(record.key)
        if run is None:
            run = self._runs[record.key] = self._create(record)
        now = int(time.time() * 1000)
        missing = [
            Metric(name, value, now, step)
            for step, metrics in enumerate(record.epochs, start=1)
            if step > run.epochs
            for name, value in metrics.items()
        ]
        if missing:
            for start in range(0, len(missing), MAX_METRICS):
                batch = missing[start : start + MAX_METRICS]
                known = run.epochs if start + MAX_METRICS < len(missing) else len(record.epochs)
                self._client.log_batch(run.run_id, metrics=batch, tags=[RunTag("epochs", str(known))])
            run.epochs = len(record.epochs)
        if run.state is not record.state:
            self._client.log_batch(run.run_id, tags=_state_tags(record))
            if record.state is State.RUNNING:
                self._client.update_run(run.run_id, "RUNNING")
            else:
                self._client.set_terminated(run.run_id, _STATUS[record.state])  # with the end time, unlike update_run
            run.state = record.state

    def _create(self, record: Record) -> _Run:
        planned = record.planned
        tags = {
            "study": self._study,
            "trial": planned.key,
            "kind": planned.kind,
            "seed": str(planned.config["seed"]),
            "mlflow.runName": _run_name(planned),
            "mlflow.parentRunId": self._parent,
            "mlflow.source.name": SOURCE,
        }
        run_id = self._client.create_run(self._experiment_id, tags=tags).info.run_id
        # The seed is no setting to plot, and a section that is null has no settings: pages that compare runs take the
        # first parameters that differ.
        settings = {name: value for name, value in planned.config.items() if name != "seed" and value is not None}
        self._log_params(run_id, settings)
        return _Run(run_id, state=State.RUNNING)

    def _log_params(self, run_id: str, tree: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        flat = {name: self._from_env.get(name, value) for name, value in flatten(tree).items()}
        params = [Param(name, str(value)[:MAX_VALUE]) for name, value in flat.items()]
        for start in range(0, len(params), MAX_PARAMS):
            self._client.log_batch(run_id, params=params[start : start + MAX_PARAMS])


def _run_name(planned: Planned) -> str:
    """The key and what was picked, so that tables and legends can be read without opening a run."""
    picks = (f"{name.rsplit('.', 1)[-1]}={short(value)}" for name, value in (planned.picks or {}).items())
    return " ".join([planned.key, *picks]) if planned.kind == "search" else planned.key


def _state_tags(record: Record) -> list[Any]:
    from mlflow.entities import RunTag

    tags = {"state": record.state.value} | ({"reason": record.reason[:MAX_VALUE]} if record.reason else {})
    return [RunTag(name, value) for name, value in tags.items()]
