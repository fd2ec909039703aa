"""The status command, from a study's directory alone."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.plan.planner import Planner
from orchestrator.status import WATCH_SECONDS, main
from orchestrator.store.layout import LEASE, TRACKING
from orchestrator.store.records import Store
from orchestrator.store.spending import Spent
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Study
from trainable.evaluate.metrics.names import EPOCH_SECONDS, GPU_MEMORY, GPU_POWER

Make = Callable[..., Study]


@pytest.fixture
def store(study: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A trial in every state, on a wide console."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    loaded = study("search.references=[]")
    store, planner = Store("out", "s"), Planner(loaded)
    store.write_study(loaded.resolved())
    for number, state in enumerate(State):
        planned = planner.next()
        assert planned is not None
        store.plan(planned)
        epochs = tuple({"val/miou": value} for value in (0.1, 0.5 + number / 100, 0.3, 0.25 + number / 100))
        done = epochs if state is State.COMPLETE else epochs[:2]
        store.write_epochs(planned.key, 1, done)
        if state is not State.RUNNING:
            store.judge(Record(planned, done).ended(state, f"because of {state}"), {})
    return store


def show(capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    assert main(["s", "--storage", "out"]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {line.split()[0]: line.split() for line in lines if line.split()}


def test_states_epochs_best_and_reasons(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    rows = show(capsys)
    by_state = dict(zip(State, (f"search-000{n}" for n in range(5)), strict=True))
    assert rows[by_state[State.COMPLETE]][1:6] == ["complete", "4/4", "0.2600", "0.5100", "@2"]
    assert rows[by_state[State.RUNNING]][1:4] == ["waiting", "2/4", "0.5000"], "nobody runs it"
    assert rows[by_state[State.PRUNED]][1] == "pruned"
    assert rows[by_state[State.FAILED]][-3:] == ["because", "of", "failed"]
    assert "ago" in rows[by_state[State.INTERRUPTED]]


def test_who_runs_it(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["s", "--storage", "out"]) == 0
    counts = "1 running, 1 complete, 1 pruned, 1 failed, 1 interrupted; nobody runs it"
    assert counts in " ".join(capsys.readouterr().out.split())
    store.objects.write_json(LEASE, {"owner": "x", "host": "elsewhere", "pid": 7, "time": time.time() - 30})
    assert main(["s", "--storage", "out"]) == 0
    assert "run by elsewhere, process 7, 30 s ago" in " ".join(capsys.readouterr().out.split())
    rows = show(capsys)
    assert rows["search-0000"][1] == "running"


def test_a_trial_that_runs_again_is_not_shown_as_interrupted(
    study: Make, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    from orchestrator.driver.session import Session

    store.objects.write_json(LEASE, {"owner": "x", "host": "elsewhere", "pid": 7, "time": time.time()})
    session = Session(Planner(study("search.references=[]"), store.records()), store, [])
    keys = {planned.key for planned in (session.start(), session.start()) if planned is not None}
    assert keys == {"search-0000", "search-0004"}
    rows = show(capsys)
    assert {rows[key][1] for key in keys} == {"running"}


def test_damaged_files_are_named(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("out/s/trials/search-0001/verdict.json")
    path.write_bytes(path.read_bytes()[:-9])
    assert main(["s", "--storage", "out"]) == 0
    assert "warning: " in (out := "".join(capsys.readouterr().out.split("\n")))
    assert "search-0001/verdict.json: damaged" in out


def test_an_unknown_study_is_one_line_and_code_2(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert main(["other", "--storage", "out"]) == 2
    assert main(["s", "--storage", "nowhere"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    message = "no study there; --storage names the folder of the studies"
    assert [line.split(": ")[1] for line in captured.err.splitlines()] == [f"{message}, which holds s", message]
    assert sorted(tmp_path.rglob("*")) == before, "looking creates nothing"


def test_many_ended_trials_are_cut_to_the_best(
    study: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = study("search.references=[]", "search.trials=30")
    store, planner = Store("out", "s"), Planner(loaded)
    store.write_study(loaded.resolved())
    for number in range(30):
        planned = planner.next()
        assert planned is not None
        store.judge(Record(planned, ({"val/miou": number / 100},) * 4).ended(State.COMPLETE), {})
    rows = show(capsys)
    shown = [key for key in rows if key.startswith("search")]
    assert shown == [f"search-{number:04d}" for number in range(29, 9, -1)]
    assert rows["and"][:3] == ["and", "10", "more"]


def test_watching_shows_it_anew_until_the_interrupt(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    def wait(seconds: float) -> None:
        seen.append(seconds)
        if len(seen) == 2:
            raise KeyboardInterrupt
        key = store.records()[0].key
        store.write_epochs(key, 2, [{"val/miou": 0.75}] * 3)

    monkeypatch.setattr("orchestrator.status.time.sleep", wait)
    assert main(["s", "--storage", "out", "--watch"]) == 0
    assert seen == [WATCH_SECONDS] * 2
    assert "3/4" in capsys.readouterr().out, "what a worker wrote meanwhile"


def test_what_was_used_and_what_the_budget_still_buys(
    study: Make, store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["s", "--storage", "out"]) == 0
    assert "used:" not in capsys.readouterr().out, "nothing was counted"
    limits = ("resources.gpu=0.5", "budget={gpu_hours: 10, hours: 9, price_per_gpu_hour: 2}", "search.references=[]")
    store.write_study(study(*limits).resolved())
    Spent(3600, 7200, 0, {"a": 2400, "b": 1200}, 8).write(store.objects, "1")
    assert main(["s", "--storage", "out"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "used: 1 h 0 min of launches, 2 h 0 min of trials; 1 GPU-hours (2.00 at 2 per GPU-hour)" in lines
    assert "budget: gpu_hours: 1 of 10 spent (2.00 at 2 per GPU-hour)" in lines
    assert "budget: hours: 1 of 9 spent" in lines
    # 900 s an epoch, 4 epochs a trial: an hour each, three of six are left
    assert "what is left buys 3 of 3 trials of the search" in lines
    assert [line.split() for line in lines if line.split()[:1] in (["a"], ["b"])] == [["a", "0.667"], ["b", "0.333"]]


def test_gpus_by_node(study: Make, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.write_study(study("resources.gpu=0.5", "search.references=[]").resolved())
    store.objects.write_json(LEASE, {"owner": "x", "host": "elsewhere", "pid": 7, "time": time.time()})
    Spent(60, 120, 0, {"a": 60}, 1).write(store.objects, "1")
    store.claim("search-0000", {"host": "a", "gpu": "NVIDIA H100", "devices": "1"})
    store.write_epochs("search-0000", 1, [{"val/miou": 0.5, GPU_MEMORY: 3 * 2**30, GPU_POWER: 600, EPOCH_SECONDS: 36}])
    assert main(["s", "--storage", "out"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.split()[:1] in (["a"], ["used:"])]
    assert lines[0].endswith("0.003 kWh of GPUs where it was measured")
    assert lines[1].split() == ["a", "NVIDIA", "H100", "1", "1", "3.0", "GiB", "0.0167"]


def test_pages_are_named_as_far_as_the_directory_knows_them(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert not {"page", "runs", "report"} & show(capsys).keys()
    store.objects.write_json(TRACKING, {"at": "x", "complete": False, "page": "http://127.0.0.1:5000/#/x"})
    store.write_text("report/report.html", "")
    rows = show(capsys)
    assert rows["page"][1] == "http://127.0.0.1:5000/#/x"
    assert "ui --backend-store-uri sqlite:///" in " ".join(rows["runs"])
    assert rows["report"][1] == store.path("report/report.html")
