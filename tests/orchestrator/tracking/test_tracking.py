import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fake_study import FakeStudy
from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.store.trial_record import Planned, Record, Setback, State
from orchestrator.tracking import Tracker, tracking_uri, where_runs_are
from orchestrator.tracking.destination import DEFAULT_URI
from orchestrator.tracking.study_info import DataSource

CONFIG = {"train": {"epochs": 2, "lr": 0.01}, "data": {"root": "/secret/place"}, "seed": 3}


def record(key: str = "search-0000", epochs: int = 0) -> Record:
    planned = Planned(key, "search", 0, CONFIG, {"suppression.p_max": 0.12345})
    return Record(planned, tuple({"val/miou": 0.1 * epoch, "val/iou/car": 0.5} for epoch in range(1, epochs + 1)))


def draw(folder: Path) -> None:
    (folder / "shapes").mkdir()
    (folder / "shapes" / "samples.png").write_bytes(b"a picture")


def tracker(uri: str, study_id: str = "1234", draw: Callable[[Path], None] = draw) -> Tracker:
    info = FakeStudy(
        study_id=study_id,
        settings={"search": {"trials": 2}},
        from_env={"data.root": "${ROOT}"},
        data=lambda trial: DataSource(
            "shapes", f"print of {trial.planned.data['root']}", "${ROOT}", {"size": "[8, 8]"}
        ),
        trial_tags=lambda key: {"host": f"host of {key}"},
        plan_hash=lambda kind: f"hash of {kind}" if kind == "ablation" else None,
        draw_data=draw,
    )
    return Tracker(uri, info)


def runs(uri: str) -> list[Run]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("exp")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def test_one_parent_and_one_child_run_per_trial_with_all_epochs(uri: str) -> None:
    tracked = tracker(uri)
    tracked.update(record())
    tracked.update(record(epochs=1))
    tracked.update(record(epochs=2).ended(State.COMPLETE))
    tracked.update(record("search-0001", 1).ended(State.FAILED, "epoch 2: the loss is nan"))
    assert tracked.close(status="FINISHED", summary={"best/val/miou": 0.2}) is None
    found = {run.data.tags.get("trial", "parent"): run for run in runs(uri)}
    assert found.keys() == {"parent", "search-0000", "search-0001"}
    child = found["search-0000"]
    assert child.data.tags["mlflow.parentRunId"] == found["parent"].info.run_id
    assert (child.info.status, child.data.tags["state"]) == ("FINISHED", "complete")
    history = MlflowClient(uri).get_metric_history(child.info.run_id, "val/miou")
    assert [(point.step, point.value) for point in history] == [(1, 0.1), (2, 0.2)]
    assert child.info.end_time is not None
    assert child.info.run_name == "search-0000"
    assert child.data.tags["seed"] == "3"
    assert child.data.tags["data_fingerprint"] == "print of /secret/place"
    assert "seed" not in child.data.params
    assert child.data.params["train.lr"] == "0.01"
    assert child.data.params["data.root"] == "${ROOT}"
    assert (found["search-0001"].info.status, found["search-0001"].data.tags["reason"]) == (
        "FAILED",
        "epoch 2: the loss is nan",
    )
    assert found["parent"].data.metrics == {"best/val/miou": 0.2}
    experiment = found["parent"].info.experiment_id
    view = MlflowClient(uri).get_experiment(experiment).tags
    keys = [tag.removeprefix("mlflow.sharedViewState.") for tag in view if tag.startswith("mlflow.sharedViewState.")]
    (charts,) = (key for key in keys if key.endswith("-charts"))
    address = f"http://127.0.0.1:5000/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey="
    assert tracked.page == f"{address}{charts}&compareRunsMode=CHART"
    for key in (charts, charts.removesuffix("-charts")):
        assert json.loads(view[f"mlflow.sharedViewState.{key}"])["orderByKey"] == "metrics.`val/miou`"
    (data,) = child.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("shapes", "print of /secret/place")
    assert "/secret" not in data.dataset.source
    assert child.data.tags["host"] == "host of search-0000"


def pictures(uri: str) -> list[str]:
    (parent,) = (run for run in runs(uri) if run.data.tags["kind"] == "study")
    return [file.path for file in MlflowClient(uri).list_artifacts(parent.info.run_id, "data/shapes")]


def test_the_run_of_an_heir_holds_the_epochs_of_its_prefix(uri: str) -> None:
    tracked, heir = tracker(uri), record("ablation-full-s0", 2)
    heir = replace(heir, planned=replace(heir.planned, kind="ablation", arm="full", block=0, prefix="prefix-0"))
    prefix = replace(record("prefix-0", 1), planned=replace(heir.planned, key="prefix-0", kind="prefix", prefix=None))
    tracked.update(prefix.ended(State.COMPLETE))
    tracked.update(replace(heir, epochs=()))
    tracked.update(heir.ended(State.COMPLETE))
    assert tracked.close(status="FINISHED", summary={}) is None
    found = {run.data.tags.get("trial", "parent"): run for run in runs(uri)}
    own, shared = found["ablation-full-s0"], found["prefix-0"]
    assert (own.data.tags["prefix"], own.data.tags["arm"]) == ("prefix-0", "full")
    assert shared.data.tags["kind"] == "prefix"
    assert not {"prefix", "arm", "block"} & shared.data.tags.keys()
    assert [m.step for m in MlflowClient(uri).get_metric_history(own.info.run_id, "val/miou")] == [1, 2]


def test_the_parent_run_holds_pictures_of_the_data_once(uri: str) -> None:
    drawn: list[Path] = []

    def count(folder: Path) -> None:
        drawn.append(folder)
        draw(folder)

    for _ in range(2):  # two launches
        tracked = tracker(uri, draw=count)
        tracked.update(record(epochs=1))
        assert tracked.close(status="FINISHED", summary={}) is None
    assert pictures(uri) == ["data/shapes/samples.png"]
    assert len(drawn) == 1


def test_a_picture_that_cannot_be_drawn_costs_nothing_else(uri: str) -> None:
    def fail(_folder: Path) -> None:
        raise OSError("no space\nleft")

    tracked = tracker(uri, draw=fail)
    tracked.update(record(epochs=2).ended(State.COMPLETE))
    told = tracked.close(status="FINISHED", summary={"best/val/miou": 0.2})
    assert told == "MLflow has no pictures of the data: no space left"
    found = {run.data.tags.get("trial", "parent"): run for run in runs(uri)}
    assert found["search-0000"].data.metrics["val/miou"] == 0.2
    assert found["parent"].info.status == "FINISHED"


def test_more_metrics_than_a_batch_holds_all_arrive(uri: str) -> None:
    many = Record(record().planned, tuple({f"m/{index}": float(epoch) for index in range(30)} for epoch in range(40)))
    tracked = tracker(uri)
    tracked.update(many.ended(State.COMPLETE))
    assert tracked.close(status="FINISHED", summary={}) is None
    (child,) = [run for run in runs(uri) if "trial" in run.data.tags]
    for name in ("m/0", "m/29"):
        history = MlflowClient(uri).get_metric_history(child.info.run_id, name)
        assert [(point.step, point.value) for point in history] == [(epoch + 1, float(epoch)) for epoch in range(40)]


def test_a_second_launch_tops_up_the_same_runs(uri: str) -> None:
    first = tracker(uri)
    first.update(record(epochs=1).ended(State.INTERRUPTED, "interrupted by SIGINT"))
    assert first.close(status="KILLED", summary={}) is None
    assert {run.info.status for run in runs(uri)} == {"KILLED"}
    second = tracker(uri)
    second.update(record())  # starts over: its first epoch is known already
    second.update(record(epochs=1))
    second.update(record(epochs=2).ended(State.COMPLETE))
    assert second.close(status="FINISHED", summary={}) is None
    assert len(runs(uri)) == 2
    (child,) = [run for run in runs(uri) if "trial" in run.data.tags]
    history = MlflowClient(uri).get_metric_history(child.info.run_id, "val/miou")
    assert [point.step for point in history] == [1, 2]
    assert {run.info.status for run in runs(uri)} == {"FINISHED"}


def test_the_reason_of_an_interruption_goes_when_the_trial_completes(uri: str) -> None:
    for state, reason in ((State.INTERRUPTED, "interrupted by SIGINT"), (State.COMPLETE, None)):
        tracked = tracker(uri)
        tracked.update(record(epochs=1).ended(state, reason))
        assert tracked.close(status="FINISHED", summary={}) is None
        (child,) = [run for run in runs(uri) if "trial" in run.data.tags]
        assert child.data.tags.get("reason") == reason


def test_attempts_without_gpu_memory_are_a_tag_of_their_trial(uri: str) -> None:
    tracked, setback = tracker(uri), Setback(1, "shared", 0.5, "epoch 1, step 2", 3 * 2**30, 2**31, 2**30, 24 * 2**30)
    tracked.update(replace(record(epochs=1), setbacks=(setback,)))
    tracked.update(replace(record(epochs=2), setbacks=(setback,)).ended(State.COMPLETE))
    assert tracked.close(status="FINISHED", summary={}) is None
    (child,) = [run for run in runs(uri) if "trial" in run.data.tags]
    line = "out of GPU memory, epoch 1, step 2 (peak 3.00, cap 2.00, free 1.00, total 24.00 GiB)"
    assert child.data.tags["out_of_memory"] == f"attempt 1, gpu: 0.5: {line}"


def test_a_study_deleted_and_run_anew_opens_new_runs(uri: str) -> None:
    for study_id in ("first", "second"):
        tracked = tracker(uri, study_id)
        tracked.update(record(epochs=2).ended(State.COMPLETE))
        assert tracked.close(status="FINISHED", summary={}) is None
    children = [run for run in runs(uri) if "trial" in run.data.tags]
    assert {run.data.tags["study_id"] for run in children} == {"first", "second"}
    for run in children:
        assert len(MlflowClient(uri).get_metric_history(run.info.run_id, "val/miou")) == 2


def test_an_unreachable_store_is_told_in_one_line_and_raises_nothing() -> None:
    tracked = tracker("sqlite:////proc/nowhere/mlflow.db")
    tracked.update(record(epochs=1))
    problem = tracked.close(status="FINISHED", summary={}, patience=30)
    assert problem is not None
    assert "sqlite:////proc/nowhere/mlflow.db" in problem
    assert "\n" not in problem


def test_where_runs_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(None) == DEFAULT_URI
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking_uri(None) == "http://127.0.0.1:5000"
    assert tracking_uri("sqlite:///own.db") == "sqlite:///own.db"


def test_what_opens_the_runs_works_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mlflow.db", "ml flow's.db", "$HOME/x;y.db"):
        words = shlex.split(where_runs_are(f"sqlite:///{name}"))
        assert words[-3:] == ["ui", "--backend-store-uri", f"sqlite:///{tmp_path}/{name}"]
    assert where_runs_are("sqlite:///a%20b%25.db").endswith("/a b%25.db'"), "as SQLAlchemy reads it"
    assert where_runs_are("postgresql://h/db").endswith("mlflow ui --backend-store-uri postgresql://h/db")
    for server in ("http://127.0.0.1:5000", "https://mlflow.example/x", "databricks"):
        assert where_runs_are(server) == server, "no command serves it"
    assert where_runs_are("https://me:hunter2@mlflow.example") == "https://***@mlflow.example"
    assert where_runs_are("postgresql://me:hunter2@h/db") == "postgresql://***@h/db", (
        "a command would lack the password"
    )


@pytest.mark.parametrize("folder", ["here", "with ümlaut # and %20"])
def test_artifacts_lie_beside_the_database_wherever_a_launch_is_started(
    empty_mlflow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "m.db").write_bytes(empty_mlflow.read_bytes())
    for launch in ("first", "second"):
        (tmp_path / launch).mkdir()
        monkeypatch.chdir(tmp_path / launch)
        tracked = tracker(f"sqlite:///../{folder.replace('%', '%25')}/m.db")
        tracked.update(record(epochs=2).ended(State.COMPLETE))
        assert tracked.close(status="FINISHED", summary={}) is None
        assert list(Path.cwd().iterdir()) == []
    (drawn,) = (tmp_path / folder / "mlartifacts/exp").glob("*/artifacts/data/shapes/samples.png")
    assert drawn.read_bytes() == b"a picture"


def test_an_experiment_that_is_there_keeps_its_place(uri: str, tmp_path: Path) -> None:
    MlflowClient(uri).create_experiment("exp", str(tmp_path / "elsewhere"))
    tracked = tracker(uri)
    tracked.update(record(epochs=2).ended(State.COMPLETE))
    assert tracked.close(status="FINISHED", summary={}) is None
    assert len(list((tmp_path / "elsewhere").glob("*/artifacts/data"))) == 1
    assert not (tmp_path / "mlartifacts").exists()


def test_the_hash_of_a_plan_is_there_before_the_first_run_of_its_stage(uri: str) -> None:
    tracked = tracker(uri)
    arm = replace(record(epochs=2).planned, kind="ablation", key="ablation-full-s0", arm="full", block=0)
    tracked.update(record(epochs=2).ended(State.COMPLETE))
    tracked.update(Record(arm, record(epochs=2).epochs).ended(State.COMPLETE))
    assert tracked.close(status="FINISHED", summary={}) is None
    found = {run.data.tags.get("trial", "parent"): run.data.tags for run in runs(uri)}
    assert found["parent"]["plan.ablation"] == "hash of ablation"
    assert "plan.search" not in found["parent"]
    assert (found["ablation-full-s0"]["arm"], found["ablation-full-s0"]["block"]) == ("full", "0")
