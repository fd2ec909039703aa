"""What the pages of MLflow show of a run first, and that studies which older versions tracked go on in their runs."""

from collections import Counter
from collections.abc import Mapping
from typing import Any
from unittest.mock import Mock

import pytest
from fake_study import FakeStudy
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.tracking import Tracker
from orchestrator.tracking.notes import NOTE, is_free
from orchestrator.tracking.runs import StudyRuns

SETTINGS = {
    "search": {"trials": 2},
    "train": {"epochs": 2, "lr": {"log_uniform": [0.001, 0.1]}},
    "suppression": {"p_max": {"uniform": [0.0, 1.0]}, "alpha": None},
}
PICKS = {"train.lr": 0.012345678901, "suppression.p_max": 0.845765592}
CONFIG = {
    "data": {"name": "shapes", "augment": {"crop": None, "flip": False}},
    "train": {"epochs": 2, "lr": PICKS["train.lr"]},
    "suppression": {"alpha": None, "p_max": PICKS["suppression.p_max"], "tau": 0.3333333},
    "seed": 3,
}
FORMER = "search-0000 lr=0.01235 p_max=0.8458"


def info(versions: Mapping[str, str] | None = None) -> FakeStudy:
    study = FakeStudy(settings=SETTINGS)
    study.tags = lambda: dict(versions or {})  # type: ignore[method-assign]
    return study


def record(key: str = "search-0000", epochs: int = 0, last: float = 0.5) -> Record:
    kind: Any = key.split("-")[0]
    planned = Planned(key, kind, 0, CONFIG, PICKS if kind == "search" else None)
    values = [{"train/loss": 1.0, "val/ece": 0.1, "val/miou": last - 0.1 * (epochs - n)} for n in range(1, epochs + 1)]
    return Record(planned, tuple(values))


def complete(key: str = "search-0000", last: float = 0.5) -> Record:
    return record(key, 2, last).ended(State.COMPLETE)


def launch(uri: str, *records: Record, versions: Mapping[str, str] | None = None, status: str = "FINISHED") -> None:
    tracked = Tracker(uri, info(versions))
    for one in records:
        tracked.update(one)
    assert tracked.close(status=status, summary={}) is None


def runs(uri: str) -> dict[str, Run]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("exp")
    assert experiment is not None
    return {run.data.tags.get("trial", "parent"): run for run in client.search_runs([experiment.experiment_id])}


def test_objective_and_picks_come_first_and_what_is_not_set_does_not_come(uri: str) -> None:
    launch(uri, complete())
    data = runs(uri)["search-0000"].data
    assert list(data.params.items()) == [
        ("suppression.p_max", "0.8458"),
        ("train.lr", "0.01235"),
        ("data.name", "shapes"),
        ("data.augment.flip", "False"),
        ("train.epochs", "2"),
        ("suppression.tau", "0.3333333"),
    ]
    assert list(data.metrics)[:2] == ["val/miou", "train/loss"]


def test_versions_stand_at_the_parent_and_at_trials_of_other_versions(uri: str) -> None:
    launch(uri, complete(), versions={"version.torch": "2", "git.commit": "abc"}, status="KILLED")
    launch(uri, complete(), complete("search-0001"), versions={"version.torch": "3", "git.commit": "abc"})
    tags = {key: run.data.tags for key, run in runs(uri).items()}
    assert {key: own.get("version.torch") for key, own in tags.items()} == {
        "parent": "2",
        "search-0000": None,
        "search-0001": "3",
    }
    assert {own["git.commit"] for own in tags.values()} == {"abc"}


def as_before(uri: str, name: str) -> str:
    """The runs of a study of two trials that an older version has half tracked."""
    client = MlflowClient(uri)
    experiment = client.create_experiment("exp")
    own = {"study": "study", "study_id": "1234", "version.torch": "2"}
    parent = client.create_run(experiment, tags={**own, "kind": "study", "mlflow.runName": "study"})
    client.log_batch(parent.info.run_id, params=[Param("train.lr", "whatever"), Param("suppression.alpha", "None")])
    tags = {**own, "kind": "search", "trial": "search-0000", "state": "interrupted", "mlflow.runName": name}
    run = client.create_run(experiment, tags={**tags, "mlflow.parentRunId": parent.info.run_id})
    old = {"data.name": "shapes", "data.augment.crop": "None", "train.lr": str(PICKS["train.lr"])}
    params = [Param(*item) for item in old.items()]
    client.log_batch(run.info.run_id, [Metric("val/miou", 0.4, 5, 1)], params, [RunTag("reason", "SIGINT")])
    client.set_terminated(run.info.run_id, "KILLED")
    return str(run.info.run_id)


@pytest.mark.parametrize(("name", "then"), [(FORMER, "search-0000"), ("my favourite", "my favourite")])
def test_a_study_that_an_older_version_tracked_goes_on_in_its_runs(uri: str, name: str, then: str) -> None:
    run_id = as_before(uri, name)
    for _ in range(2):
        launch(uri, record(epochs=1), complete(), complete("search-0001"))
    told = runs(uri)
    assert told.keys() == {"parent", "search-0000", "search-0001"}
    old = told["search-0000"]
    assert (old.info.run_id, old.info.run_name, old.info.status) == (run_id, then, "FINISHED")
    assert old.data.params["train.lr"] == "0.012345678901", "MLflow changes no parameter"
    assert old.data.params["data.augment.crop"] == "None"
    assert old.data.params["suppression.p_max"] == "0.8458"
    assert told["search-0001"].data.params["train.lr"] == "0.01235"
    history = MlflowClient(uri).get_metric_history(run_id, "val/miou")
    assert [(point.step, point.value) for point in history] == [(1, 0.4), (2, 0.5)]
    assert old.data.tags[NOTE].startswith("val/miou 0.5000. Trial of the search (p_max 0.846, lr 0.0123)")
    assert told["parent"].data.tags[NOTE].startswith("**Question.**")


def test_what_somebody_edited_stays(uri: str) -> None:
    launch(uri, record(epochs=1).ended(State.INTERRUPTED, "SIGINT"), status="KILLED")
    client, told = MlflowClient(uri), runs(uri)
    assert "interrupted after 1 of 2 epochs: SIGINT" in told["search-0000"].data.tags[NOTE]
    for run in told.values():
        client.set_tag(run.info.run_id, NOTE, run.data.tags[NOTE] + " My remark.")
    experiment = told["parent"].info.experiment_id
    assert is_free(client.get_experiment(experiment).tags[NOTE])
    client.set_experiment_tag(experiment, NOTE, "")
    client.update_run(told["search-0000"].info.run_id, name="the good one")
    launch(uri, complete(), complete("search-0001"))
    for key, run in runs(uri).items():
        assert run.data.tags[NOTE].endswith(" My remark.") == (key != "search-0001")
    assert runs(uri)["search-0000"].info.run_name == "the good one"
    assert client.get_experiment(experiment).tags[NOTE] == "", "somebody wants none"


def test_a_trial_that_ended_before_plain_gets_its_difference_in_the_end(uri: str) -> None:
    launch(uri, complete(last=0.5), complete("reference-plain", last=0.2))
    notes = {key: run.data.tags[NOTE] for key, run in runs(uri).items()}
    assert notes["search-0000"].startswith("val/miou 0.5000 (+0.3000 beside plain).")
    assert notes["reference-plain"].startswith("val/miou 0.2000. Reference: the model without suppression")
    experiment = MlflowClient(uri).get_experiment(runs(uri)["parent"].info.experiment_id)
    links = "[results](#/experiments/1/runs/"
    assert experiment.tags[NOTE].startswith(f"**study** ({links}")
    assert "&compareRunsMode=CHART) · [table](" in experiment.tags[NOTE]


def test_a_result_costs_one_request(uri: str) -> None:
    told = StudyRuns(uri, info())
    told.sync(record(), [])
    told.client = client = Mock(wraps=told.client)

    def asked() -> Counter[str]:
        names = Counter(str(call[0]) for call in client.method_calls)
        client.reset_mock()
        return names

    told.sync(record(epochs=1), [1])
    assert asked() == {"log_batch": 1}
    told.sync(complete(), [1, 2])
    assert asked() == {"log_batch": 1, "set_terminated": 1}
    told.sync(record("search-0001"), [])
    assert asked() == {"create_run": 1, "log_batch": 1, "log_inputs": 1}
