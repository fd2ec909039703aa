"""A launch whose budget pays nothing any more: it is told before anything starts."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.launch import one_launch
from orchestrator.launch.one_launch import Target, launch
from orchestrator.plan.planner import Planner
from orchestrator.store.records import Store
from orchestrator.store.spending import Spent
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import ConfigError, Study

Make = Callable[..., Study]
SMALL = ("search.references=[]", "tracking.enabled=false")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(one_launch, "prepare", lambda *_: None)
    return tmp_path


def run(study: Study) -> int:
    return launch(study, storage="out", target=Target(), command="AGAIN")


def begun(study: Study, epochs: int) -> Store:
    """A study of which a trial of four epochs has trained some, at 10 s each."""
    store, planner = Store("out", "s"), Planner(study)
    store.write_study(study.resolved())
    planned = planner.next()
    assert planned is not None
    store.plan(planned)
    store.write_epochs(planned.key, 1, [{"val/miou": 0.5}] * epochs)
    store.judge(Record(planned, ({"val/miou": 0.5},) * epochs).ended(State.INTERRUPTED), {})
    Spent(100, 100, 0, {}, 10).write(store.objects, "1")
    return store


def test_a_date_that_is_past_is_refused_and_nothing_is_written(study: Make, place: Path) -> None:
    with pytest.raises(InputError, match=r"s\.yaml: budget\.until is over: 2020-01-01 .*; 6 of 6 trials of the search"):
        run(study(*SMALL, "budget.until=2020-01-01"))
    assert not (place / "out").exists()


def test_a_study_whose_budget_is_spent_says_what_is_missing(
    study: Make, capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    begun(study(*SMALL), 2)
    assert run(study(*SMALL, "budget.hours=0.02")) == 3
    out = " ".join(capsys.readouterr().out.split())
    assert "Stopped: budget.hours does not pay a further trial: 0.0278 of 0.02 are spent; 6 of 6 trials of the" in out
    assert "AGAIN" in out
    assert not (place / "out/s/report").exists()


def test_a_trial_that_has_begun_is_paid_by_what_is_left_of_it(study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(study(*SMALL), 3)
    ray: list[object] = []

    def start(*arguments: object) -> object:
        ray.append(arguments)
        raise InputError("Ray would start")

    monkeypatch.setattr("orchestrator.driver.cluster.cluster", start)
    for seconds, paid in ((109, False), (111, True)):
        ray.clear()
        if paid:
            with pytest.raises(InputError, match="Ray would start"):
                run(study(*SMALL, f"budget.hours={seconds / 3600}"))
        else:
            assert run(study(*SMALL, f"budget.hours={seconds / 3600}")) == 3
        assert bool(ray) == paid


@pytest.mark.parametrize("until", ["2027", "20270115", "'2027'", "'20270115'", "0", "soon", "2027-13-01", "true"])
def test_no_other_number_is_taken_for_a_date(study: Make, until: str) -> None:
    with pytest.raises(ConfigError, match=r"budget\.until: .*(a date like 2027-01-15T08:00|expected)"):
        study(*SMALL, f"budget.until={until}")


def test_a_date_is_local_unless_it_says_otherwise(study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    ends = [study(*SMALL, f"budget.until={t}").spec.budget.ends for t in ("2027-01-15T08:00", "2027-01-15T06:00Z")]
    assert ends[0] == ends[1]
    monkeypatch.undo()
    time.tzset()
