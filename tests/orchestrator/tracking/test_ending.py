"""How a study's runs end in MLflow: by a launch that has nothing to run, and by ``track``."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fake_study import FakeStudy
from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator import track
from orchestrator.launch.one_launch import Target, launch
from orchestrator.plan.planner import Planner
from orchestrator.store import layout
from orchestrator.store.records import Store, open_study
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Study
from orchestrator.tracking.destination import is_behind, note_tracking, noted_page, tracking_uri
from orchestrator.tracking.ending import parent_status
from orchestrator.tracking.study_info import StudyInfo
from orchestrator.tracking.tracker import Tracker

Make = Callable[..., Study]
EPOCHS = tuple({"val/miou": value} for value in (0.1, 0.2, 0.3, 0.4))


def planned(key: str) -> Planned:
    return Planned(key, "search", 0, {"train": {"epochs": 4}, "seed": 0}, {})


def test_the_parent_failed_where_every_trial_did() -> None:
    failed, complete = (Record(planned(state)).ended(state) for state in (State.FAILED, State.COMPLETE))
    assert parent_status([failed, failed], whole=True) == "FAILED"
    assert parent_status([failed, complete], whole=True) == "FINISHED"
    assert parent_status([complete], whole=True) == "FINISHED"
    assert parent_status([], whole=True) == "FINISHED"
    assert parent_status([failed, failed], whole=False) == "KILLED", "something is left to run"


@pytest.fixture
def finished(study: Make, uri: str) -> Callable[..., Study]:
    """Writes a study of six trials, all ended in a state; returns it."""

    def write(state: State = State.COMPLETE) -> Study:
        loaded = study("search.references=[]", f"tracking.uri={uri}", "tracking.model=false")
        store, planner = Store("out", "s"), Planner(loaded)
        store.write_study(loaded.resolved())
        for trial in iter(planner.next, None):
            store.plan(trial)
            store.write_epochs(trial.key, 1, EPOCHS)
            store.judge(*planner.finish(Record(trial, EPOCHS).ended(state, "why" if state is State.FAILED else None)))
        return loaded

    return write


def runs(uri: str) -> dict[str, Run]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    return {run.data.tags.get("trial", "study"): run for run in client.search_runs([experiment.experiment_id])}


def again(loaded: Study) -> int:
    return launch(loaded, storage="out", target=Target(), command="again")


def test_a_finished_study_run_again_says_where_everything_is(
    finished: Callable[..., Study], uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded, places = finished(), []
    for _ in range(3):  # only the first has something to tell MLflow and to write
        assert again(loaded) == 0
        lines = (line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line)
        words = {line[0]: line[1] for line in lines if len(line) == 2}
        places.append({what: words[what] for what in ("study", "table", "runs", "report", "page")})
    assert places[0] == places[1] == places[2]
    assert places[0]["page"].startswith("http://127.0.0.1:5000/#/experiments/1/runs?")
    assert places[0]["report"].endswith("out/s/report/report.html")
    assert places[0]["runs"].endswith(f"mlflow ui --backend-store-uri {uri}")
    assert runs(uri)["study"].info.status == "FINISHED"


def test_a_study_of_failures_alone_failed(finished: Callable[..., Study], uri: str) -> None:
    assert again(finished(State.FAILED)) == 3
    assert {key: run.info.status for key, run in runs(uri).items()} == dict.fromkeys(
        ["study", *(f"search-000{number}" for number in range(6))], "FAILED"
    )


def test_what_has_no_verdict_ends_in_mlflow_all_the_same(
    finished: Callable[..., Study], uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = finished()
    assert again(loaded) == 0
    verdict = Path("out/s/trials/search-0002/verdict.json")
    verdict.write_bytes(verdict.read_bytes()[:-9])
    capsys.readouterr()
    assert track.main(["s", "--storage", "out"]) == 0
    told = capsys.readouterr().out
    assert f"{verdict}: damaged, its content does not match its checksum; " in told
    assert "1 trials are unfinished: the same launch again goes on with them" in told
    assert runs(uri)["search-0002"].info.status == "KILLED"
    assert runs(uri)["search-0002"].data.tags["state"] == "interrupted"
    assert "RUNNING" not in {run.info.status for run in runs(uri).values()}
    assert again(loaded) == 0  # judges it anew
    assert {run.info.status for run in runs(uri).values()} == {"FINISHED"}
    tags = runs(uri)["search-0002"].data.tags
    assert (tags["state"], tags.get("reason")) == ("complete", None)


def test_a_run_whose_trial_is_lost_or_counts_no_more_ends_too(
    finished: Callable[..., Study], study: Make, uri: str
) -> None:
    loaded = finished()
    client = MlflowClient(uri)
    assert again(loaded) == 0
    client.update_run(runs(uri)["search-0001"].info.run_id, "RUNNING")  # its driver was killed
    for path in Path("out/s/trials/search-0001").iterdir():
        path.unlink()
    assert track.main(["s", "--storage", "out"]) == 0
    assert runs(uri)["search-0001"].info.status == "KILLED"


@pytest.mark.parametrize(
    "content", [[], None, {}, 3, "x", {"at": 1, "complete": True}, {"at": "x", "complete": "maybe"}]
)
def test_a_note_of_another_shape_is_none(content: object, tmp_path: Path, study: Make) -> None:
    store = Store(str(tmp_path), "s")
    store.objects.write_json(layout.TRACKING, content)
    settings = study("tracking.uri=http://here").spec.tracking
    assert is_behind(store, "http://here")
    assert noted_page(store, settings) is None
    note_tracking(store, "http://here", complete=True)
    assert is_behind(store, "http://here"), "an earlier version kept no page"
    note_tracking(store, "http://here", complete=True, page="http://here/#/x")
    assert not is_behind(store, "http://here")
    assert is_behind(store, "http://there")
    assert noted_page(store, settings) == "http://here/#/x"
    assert noted_page(store, settings.model_copy(update={"enabled": False})) is None


def test_only_the_studys_files_wait_for_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class Runs:
        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *_: calls.append(name)

    monkeypatch.setattr(Tracker, "_connected", lambda _: Runs())
    tracker = Tracker("sqlite:///none.db", FakeStudy())
    tracker.begin_to_close(status="FINISHED", summary={}, hurried=lambda: False)
    deadline = time.monotonic() + 20
    while "log_model" not in calls:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "log_study" not in calls
    assert tracker.close(status="FINISHED", summary={}) is None
    assert calls == ["log_pictures", "log_model", "log_study", "log_descriptions", "finish"]


@pytest.mark.parametrize(("model", "checkpoint", "started"), [(True, True, 1), (True, False, 0), (False, True, 0)])
def test_what_writes_a_model_is_started_where_there_is_one_to_write_and_ends_with_mlflows_thread(
    model: bool, checkpoint: bool, started: int, finished: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    writers: list[str] = []

    class Writer:
        def start(self) -> None:
            writers.append("started")

        def close(self) -> None:
            writers.append("ended")

    monkeypatch.setattr("orchestrator.tracking.study_info.ModelWriter", Writer)
    monkeypatch.setattr(Store, "checkpoints", lambda *_: ["checkpoint-4.pt"] if checkpoint else [])
    finished()
    store, kept = open_study("out", "s")
    settings = {**kept.specification, "tracking": {**kept.specification["tracking"], "model": model}}
    tracker = Tracker(tracking_uri(None), StudyInfo(store, replace(kept, specification=settings)))
    tracker.expect_end(store.records()[0])
    assert writers == ["started"] * started
    assert tracker.close(status="KILLED", summary={}) is None
    assert writers == ["started"] * started + ["ended"]
