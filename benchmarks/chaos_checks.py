"""What must hold of a study after the kills of ``chaos.py``, against the same study left in peace."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq

from orchestrator.plan.planner import Planner
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Study
from orchestrator.tracking.destination import is_behind
from trainable.evaluate.metrics.names import repeats


@dataclass(frozen=True)
class Finished:
    """A study that has come to its end."""

    name: str
    """Of its MLflow experiment."""
    folder: Path
    kept_runs: str
    """Where MLflow's runs are read."""
    tracking: str
    """Where they were sent."""

    @property
    def is_behind(self) -> bool:
        """Whether MLflow may lack something, as the study itself knows."""
        return is_behind(Store(str(self.folder), "chaos"), self.tracking)

    @property
    def records(self) -> list[Record]:
        """All its trials."""
        return Store(str(self.folder), "chaos").records()


def table(run: Finished, *, prefixes: bool = True) -> list[str]:
    """Rows of results.parquet, sorted, every bit of their values shown; those of prefixes may be left out."""
    whole = pq.read_table(run.folder / "chaos/results.parquet")
    names = sorted(filter(repeats, whole.column_names))
    rows = sorted(whole.select(names).to_pylist(), key=lambda row: (row["trial"], row["epoch"]))
    return [repr(row) for row in rows if prefixes or row["kind"] != "prefix"]


def differences(calm: Finished, run: Finished, study: Study) -> list[str]:
    """What is not as it should be after the kills, in words."""
    found = []
    records = run.records
    keys = [f"search-{number:04d}" for number in range(Planner(study).budget)]
    searched = [record.key for record in records if record.planned.kind != "prefix"]
    if searched != keys:
        found.append(f"trials {searched}, expected {keys}")
    found += [f"{r.key} is {r.state}" for r in records if r.state not in (State.COMPLETE, State.PRUNED)]
    one, other = table(calm), table(run)
    wrong = sum(a != b for a, b in zip(one, other, strict=False)) + abs(len(one) - len(other))
    if wrong:
        found.append(f"results.parquet: {wrong} of {len(one)} rows differ")
    found += _run_differences(run, records)
    left = [path.name for path in run.folder.glob("chaos/trials/*/*.bin")]
    if len(left) > 1:  # the best trial keeps its last
        found.append(f"{len(left)} checkpoints are left: {left}")
    return found


def _run_differences(run: Finished, records: list[Record]) -> Iterator[str]:
    """What MLflow shows otherwise than the records hold it."""
    from mlflow import MlflowClient

    client = MlflowClient(run.kept_runs)
    experiment = client.get_experiment_by_name(run.name)
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    trials = Counter(r.data.tags["trial"] for r in runs if "trial" in r.data.tags)
    if len(runs) - trials.total() != 1:
        yield f"MLflow: {len(runs) - trials.total()} parent runs"
    if trials != Counter(record.key for record in records):
        yield f"MLflow: runs {dict(trials)}"
    if open_runs := [r.info.run_name for r in runs if r.info.status == "RUNNING"]:
        yield f"MLflow: still running: {open_runs}"
    ids = {r.data.tags["trial"]: r.info.run_id for r in runs if "trial" in r.data.tags}
    for record in records:
        held = client.get_metric_history(ids[record.key], "val/miou") if record.key in ids else []
        shown = sorted((metric.step, metric.value) for metric in held)
        if shown != [(epoch, metrics["val/miou"]) for epoch, metrics in enumerate(record.epochs, start=1)]:
            yield f"MLflow: {record.key} has epochs {[step for step, _ in shown]}"


def decision_differences(records: list[Record], study: Study) -> Iterator[str]:
    """Where a planner that is fed the records suggests or prunes otherwise."""
    planner = Planner(study)
    for record in records:
        planned = planner.next()
        if planned is None or planned.config != record.planned.config:
            yield f"{record.key}: another suggestion than the records give"
            return
        stopped = None
        for epoch, metrics in enumerate(record.epochs, start=1):
            if epoch < record.planned.epochs and planner.report(planned, epoch, metrics):
                stopped = epoch
                break
        expected = len(record.epochs) if record.state is State.PRUNED else None
        if stopped != expected:
            yield f"{record.key}: pruned after {expected}, a planner fed the same records says {stopped}"
        planner.finish(replace(record, planned=planned))
