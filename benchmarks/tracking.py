"""What telling MLflow costs: ours against Ray's MLflowLoggerCallback, on a database and on a local server.

    python benchmarks/tracking.py                   each store, ours and the stock callback in turn
    python benchmarks/tracking.py --behind 100      how many trials of 50 epochs wait at once (100: 5,000 results)
    python benchmarks/tracking.py --large           and 1,000 trials of 50 epochs on a database: time and size

A result is an epoch with 30 metrics. "caller" is what the thread that runs the study waits for one result. "drained" is
results per second until MLflow holds them: for ours one request per result, and in the last column as the tracker sends
what piled up while MLflow was away, which is then counted in MLflow: each epoch is there once. The limit is one bare
``log_batch`` per result. Python's collector comes rarely to all of them, as it does in the tracker's own process.
PostgreSQL is measured where Debian's postgresql and psycopg2-binary are there.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow_server import mlflow_server
from postgres import postgres, programs

from orchestrator.store.kept_study import KeptStudy
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.tracking import StudyInfo, Tracker
from orchestrator.tracking.study_info import DataSource
from trainable.configfile.node import JsonObject
from trainable.program import collect_rarely

METRICS = 30
TRIALS, EPOCHS, ROUNDS = 4, 8, 3
STOCK_RESULTS = {"sqlite": 24, "server on sqlite": 6, "server on PostgreSQL": 6}
"""Of the stock callback in each round: over HTTP it takes seconds for one."""
LONG = 50
"""Epochs of the trials that wait at once."""
CONFIG: JsonObject = {"train": {"epochs": EPOCHS, "lr": 0.01}, "data": {"name": "shapes"}, "seed": 3}


def epoch(number: int) -> dict[str, float]:
    """The metrics of an epoch."""
    return {"val/miou": number / 100} | {f"val/iou/class {index}": index + number / 100 for index in range(METRICS - 1)}


def record(trial: int, epochs: int, of: int = EPOCHS) -> Record:
    """A trial after some epochs."""
    config: JsonObject = {**CONFIG, "train": {"epochs": of, "lr": 0.01}}
    known = Record(Planned(f"search-{trial:04d}", "search", trial, config, {}), tuple(map(epoch, range(1, epochs + 1))))
    return known.ended(State.COMPLETE) if epochs == of else known


class BareStudy(StudyInfo):
    """A study that has nothing but its trials."""

    def data(self, _record: Record) -> DataSource:
        """Data that are nowhere."""
        return DataSource("shapes", "abc", "made in memory", {})

    def tags(self) -> Mapping[str, str]:
        """None."""
        return {}

    def write_trial(self, record: Record, folder: Path) -> None:
        """Nothing."""

    def write_study(self, folder: Path) -> None:
        """Nothing."""


def info(name: str) -> StudyInfo:
    """A study of this name, without a directory."""
    objective: JsonObject = {"metric": "val/miou", "mode": "max"}
    specification: JsonObject = {"study": name, "objective": objective, "tracking": {"model": False}}
    return BareStudy(Store("nowhere", name), KeptStudy(name, specification))


def ours(uri: str, name: str) -> tuple[float, float]:
    """Seconds that a caller waits per result, and results per second, one request each."""
    from orchestrator.tracking.runs import StudyRuns

    runs = StudyRuns(uri, info(name))
    for trial in range(TRIALS):
        runs.sync(record(trial, 0), [])
    began = time.perf_counter()
    for number in range(1, EPOCHS + 1):
        for trial in range(TRIALS):
            runs.sync(record(trial, number, of=EPOCHS + 1), list(range(number)))
    rate = TRIALS * EPOCHS / (time.perf_counter() - began)
    return caller(uri, f"{name}-caller"), rate


def caller(uri: str, name: str) -> float:
    """Median seconds of an update while the writing thread is at work."""
    tracker, waited = Tracker(uri, info(name)), []
    for number in range(1, EPOCHS + 1):
        for trial in range(TRIALS):
            known = record(trial, number)
            began = time.perf_counter()
            tracker.update(known)
            waited.append(time.perf_counter() - began)
            time.sleep(0.01)
    problem = tracker.close(status="FINISHED", summary={})
    assert problem is None, problem
    return statistics.median(waited)


def piled_up(uri: str, name: str, trials: int = 40, epochs: int = EPOCHS) -> float:
    """Seconds until MLflow holds everything that was there at once."""
    tracker = Tracker(uri, info(name))
    began = time.perf_counter()
    for trial in range(trials):
        tracker.update(record(trial, epochs, of=epochs))
    problem = tracker.close(status="FINISHED", summary={}, patience=600)
    assert problem is None, problem
    seconds = time.perf_counter() - began
    check_once(uri, name, trials, epochs)
    return seconds


def check_once(uri: str, name: str, trials: int, epochs: int) -> None:
    """Every trial has one run; some hold each epoch once.

    Raises:
        AssertionError: something is missing or doubled.
    """
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    runs = [run for run in client.search_runs([experiment.experiment_id]) if "trial" in run.data.tags]
    if trials < 1000:  # the first page
        assert len({run.data.tags["trial"] for run in runs}) == len(runs) == trials
    for run in runs[::10]:
        history = client.get_metric_history(run.info.run_id, "val/miou")
        assert [point.step for point in history] == list(range(1, epochs + 1))


def bare(uri: str, name: str) -> float:
    """Results per second of one ``log_batch`` each."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(uri)
    run = client.create_run(client.create_experiment(name)).info.run_id
    began = time.perf_counter()
    for number in range(TRIALS * EPOCHS):
        client.log_batch(run, metrics=[Metric(key, value, 1, number) for key, value in epoch(number).items()])
    return TRIALS * EPOCHS / (time.perf_counter() - began)


class RayTrial:
    """As much of Ray's trial as the callback reads."""

    def __init__(self, number: int) -> None:
        self.config: dict[str, Any] = {"lr": 0.01, "p_max": number / 10}
        self._name = f"trial_{number}"

    def __str__(self) -> str:
        return self._name


def stock(uri: str, name: str, results: int) -> float:
    """Seconds of the callback per result; its caller waits for all of it."""
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    callback = MLflowLoggerCallback(tracking_uri=uri, experiment_name=name)
    callback.setup()  # type: ignore[no-untyped-call]
    trials: list[Any] = [RayTrial(number) for number in range(2)]
    for trial in trials:
        callback.log_trial_start(trial)
    began = time.perf_counter()
    for number in range(1, results // 2 + 1):
        for trial in trials:
            callback.log_trial_result(number, trial, {**epoch(number), "training_iteration": number})
    return (time.perf_counter() - began) / (results // 2 * 2)


def compare(title: str, uri: str, behind: int) -> None:
    """Print one store's line."""
    rounds = [(ours(uri, f"ours-{n}"), stock(uri, f"stock-{n}", STOCK_RESULTS[title])) for n in range(ROUNDS)]
    waits, rates = zip(*(mine for mine, _ in rounds), strict=True)
    wait, rate, theirs = (statistics.median(values) for values in (waits, rates, [cost for _, cost in rounds]))
    limit = statistics.median(bare(uri, f"bare-{n}") for n in range(ROUNDS))
    heap = behind * LONG / piled_up(uri, "heap", behind, LONG)
    print(
        f"{title:20} caller: ours {wait * 1e3:.4f} ms, stock {theirs * 1e3:.1f} ms   drained: ours {rate:.1f}/s, stock "
        f"{1 / theirs:.2f}/s ({rate * theirs:.1f}x), limit {limit:.1f}/s ({rate / limit:.2f} of it), "
        f"behind by {behind * LONG:,}: {heap:.0f}/s ({heap / rate:.1f}x)",
        flush=True,
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="1,000 trials x 50 epochs x 30 metrics as well")
    parser.add_argument("--behind", type=int, default=100, metavar="TRIALS", help="that wait at once (default: 100)")
    options = parser.parse_args()
    collect_rarely()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.chdir(folder)
        compare("sqlite", f"sqlite:///{folder}/mlflow.db", options.behind)
        with mlflow_server(folder) as address:
            compare("server on sqlite", address, options.behind)
        if programs() is None:
            print("server on PostgreSQL: not measured, Debian's postgresql or Python's psycopg2-binary is missing")
        else:
            with postgres() as database, mlflow_server(folder, database=database) as address:
                compare("server on PostgreSQL", address, options.behind)
        if options.large:
            seconds = piled_up(f"sqlite:///{folder}/large.db", "large", trials=1000, epochs=50)
            size = (folder / "large.db").stat().st_size / 2**20
            print(f"1,000 trials x 50 epochs x {METRICS} metrics on a database: {seconds:.0f} s, {size:.0f} MiB")


if __name__ == "__main__":
    main()
