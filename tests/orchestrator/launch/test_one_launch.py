"""Whole launches on a real Ray: exit codes, records, MLflow, interruption, lost workers."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from orchestrator.errors import InputError
from orchestrator.launch.one_launch import Target, launch
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Study

pytestmark = pytest.mark.integration

HERE = Path(__file__).parents[1]
Make = Callable[..., Study]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and workers that can import the fake engines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")  # mlflow keeps a store per address
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return tmp_path


def run(study: Study, fit: str = "fake_fit:fit", max_concurrent: int = 2) -> int:
    return launch(study, storage="out", target=Target(max_concurrent=max_concurrent, fit=fit), command="again")


def records(place: Path) -> dict[str, Record]:
    return {record.key: record for record in Store(str(place / "out"), "s").records()}


def mlflow_children(place: Path) -> dict[str, Any]:
    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parents = [r for r in runs if "trial" not in r.data.tags]
    assert len(parents) == 1
    children = {r.data.tags["trial"]: r for r in runs if "trial" in r.data.tags}
    assert len(children) == len(runs) - 1  # never two runs of one trial
    return children


def wait_for_an_epoch(process: "subprocess.Popen[str]", place: Path) -> None:
    deadline = time.monotonic() + 90
    while not list(place.glob("out/s/trials/*/epochs-1.json")):
        assert time.monotonic() < deadline, "no epoch in 90 s"
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)


def parent(place: Path) -> Any:
    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    (run,) = [r for r in client.search_runs([experiment.experiment_id]) if "trial" not in r.data.tags]
    return run


def test_a_whole_study_and_the_same_command_again(study: Make, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded = study("tracking.model=false")  # it trains none
    assert run(loaded, "fake_fit:visible_devices") == 0
    found = records(place)
    assert len(found) == 6 + len(loaded.spec.search.references)
    assert {record.state for record in found.values()} == {State.COMPLETE}
    assert all(len(record.epochs) == 4 for record in found.values())
    rows = pq.read_table(place / "out/s/results.parquet").to_pylist()
    assert len(rows) == 4 * len(found)
    assert len({row["pid"] for row in rows}) <= 2, "actors are reused"
    assert {row["threads"] for row in rows} == {1}
    assert {row["hidden"] for row in rows} == {1.0}, "gpu: 0 sees no GPU"
    children = mlflow_children(place)
    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    for key, record in found.items():
        history = client.get_metric_history(children[key].info.run_id, "val/miou")
        assert [(p.step, p.value) for p in history] == [
            (epoch, metrics["val/miou"]) for epoch, metrics in enumerate(record.epochs, start=1)
        ]
        assert children[key].info.status == "FINISHED"
    assert (place / "out/s/best.yaml").exists()
    capsys.readouterr()
    began = time.monotonic()
    assert run(loaded) == 0
    assert time.monotonic() - began < 3, "nothing was started"
    assert "nothing is left to run" in capsys.readouterr().out
    assert records(place) == found


def test_a_failed_trial_is_named_with_its_reason_and_the_study_goes_on(
    study: Make, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ["search.sampler=grid", "suppression.p_max={choice: [0.25, 0.75]}", "suppression.alpha=1.0"]
    assert run(study(*grid, "suppression.sampling={name: uniform}"), "fake_fit:failing") == 3
    found = records(place)
    assert found["search-0000"].state is State.COMPLETE
    assert found["search-0001"].state is State.FAILED
    assert found["search-0001"].reason == "epoch 2, step 3: the loss is nan"
    assert len(found["search-0001"].epochs) == 1
    assert "failed: search-0001: epoch 2, step 3: the loss is nan" in capsys.readouterr().out
    assert "TrialFailed" in (place / "out/s/trials/search-0001/traceback.txt").read_text()
    failed = mlflow_children(place)["search-0001"]
    assert (failed.info.status, failed.data.tags["reason"]) == ("FAILED", "epoch 2, step 3: the loss is nan")


def test_an_undefined_objective_fails_its_trial(study: Make, place: Path) -> None:
    assert run(study("search.trials=1", "search.references=[]"), "fake_fit:undefined") == 3
    assert records(place)["search-0000"].reason == "epoch 4: the objective val/miou is undefined"


def test_a_lost_worker_costs_no_trial(study: Make, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "deaths").mkdir()
    monkeypatch.setenv("DEATHS", str(place / "deaths"))
    assert run(study("search.trials=2", "search.references=[]"), "fake_fit:dying") == 0
    assert len(list((place / "deaths").iterdir())) == 2
    assert {len(record.epochs) for record in records(place).values()} == {4}


def test_a_worker_lost_for_good_is_a_failure_with_its_cause(
    study: Make, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "deaths").mkdir()
    monkeypatch.setenv("DEATHS", str(place / "deaths"))
    lonely = study("search.trials=1", "search.references=[]", "resources.retries=0")
    assert run(lonely, "fake_fit:dying") == 3
    reason = records(place)["search-0000"].reason
    assert reason is not None
    assert reason.startswith("its worker was lost, and no retry is left: The actor died")


def test_early_stopping_through_ray(study: Make, place: Path) -> None:
    pruned = study("search.pruner={name: asha, grace_epochs: 2}", "train.epochs=8", "search.trials=8")
    assert run(pruned, max_concurrent=1) == 0
    states = [record.state for key, record in records(place).items() if key.startswith("search")]
    assert State.PRUNED in states
    assert State.COMPLETE in states
    for record in records(place).values():
        if record.state is State.PRUNED:
            assert len(record.epochs) < 8
            assert record.reason == f"stopped early after epoch {len(record.epochs)}"
            assert mlflow_children(place)[record.key].data.tags["state"] == "pruned"


def test_a_launch_that_breaks_off_leaves_no_process_behind(
    study: Make, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("as Ray's own errors")

    monkeypatch.setattr("orchestrator.launch.one_launch.run_rounds", breaks)
    with pytest.raises(RuntimeError, match="as Ray's own errors"):
        run(study())
    ours = [child.cmdline() for child in psutil.Process().children(recursive=True)]
    assert not any("orchestrator.tracking.tracker_process" in command for command in ours)


def test_more_than_any_node_has_is_refused_and_nothing_is_written(study: Make, place: Path) -> None:
    before = sorted(place.iterdir())
    with pytest.raises(InputError, match=r"cpu: 1000, gpu: 0.*no node can ever meet this; the largest has \{cpu: "):
        run(study("resources.cpu=1000"))
    assert sorted(place.iterdir()) == before


def start(before: str, overrides: str, fit: str) -> "subprocess.Popen[str]":
    """A launch in a process of its own, in which ``before`` runs first."""
    script = f"""
import os, signal, sys
from orchestrator.driver.stop import Stop
with Stop('THE COMMAND') as stop:
    from orchestrator.launch import one_launch
    from orchestrator.studyfile import load
{textwrap.indent(before, "    ")}
    target = one_launch.Target(fit={fit!r}, max_concurrent=2)
    study = load('s.yaml', {overrides})
    try:
        code = one_launch.launch(study, storage='out', target=target, command='THE COMMAND', stop=stop)
    except KeyboardInterrupt:
        code = stop.exit_code
sys.exit(code)
"""
    call = [sys.executable, "-c", script]
    return subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def alive(session: int) -> list[int]:
    """Processes of a session that still run."""
    running = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                running.append(process.pid)
    return running


SIGNALS = {
    "while the models are checked": """
from orchestrator.launch import preparation
preparation.needs_torch = lambda _: os.kill(os.getpid(), 15) or signal.pause()
""",
    "while Ray starts": """
import ray
init = ray.init
def start(**options):
    os.kill(os.getpid(), 15)
    return init(**options)
ray.init = start
""",
    "while the report is written": """
from orchestrator.launch import study_report
study_report.MODULE = "endless_report"
join = study_report.StudyReport.join
study_report.StudyReport.join = lambda report: os.kill(os.getpid(), 15) or join(report)
""",
    "while Ray is left": """
import ray
from orchestrator.launch import study_report
study_report.MODULE = "endless_report"
shutdown = ray.shutdown
def leave():
    shutdown()  # which leaves SIGTERM deadly
    os.kill(os.getpid(), 15)
ray.shutdown = leave
""",
}


@pytest.mark.parametrize("when", SIGNALS)
def test_a_signal_at_any_moment_loses_nothing(when: str, study: Make, place: Path) -> None:
    small = ["search.trials=1", "search.references=[]"]
    process = start(SIGNALS[when], repr(small), "fake_fit:fit")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 143, out
    assert "Traceback" not in out
    assert not (place / "out/s/lease.json").exists()
    assert alive(process.pid) == []
    begun = when in ("while the report is written", "while Ray is left")
    if begun:
        assert "Continue with:  THE COMMAND" in out
        assert "The report is left to the next launch." in out
        assert pq.read_table(place / "out/s/results.parquet").num_rows == 4
        assert parent(place).info.status == "FINISHED"
    assert run(study(*small)) == 0
    assert pq.read_table(place / "out/s/results.parquet").num_rows == 4
    assert (place / "out/s/report/report.html").exists()
    assert parent(place).info.status == "FINISHED"
    assert list(mlflow_children(place)) == ["search-0000"]


KILLS = {
    "before the table": """
from orchestrator.launch import results
results.write_table = lambda *_: os.kill(os.getpid(), 9)
""",
    "between table and report": """
from orchestrator.launch import study_report
study_report.MODULE = "endless_report"
study_report.StudyReport.join = lambda report: os.kill(os.getpid(), 9)
""",
    "between report and MLflow": """
from orchestrator.launch import study_report
join = study_report.StudyReport.join
study_report.StudyReport.join = lambda report: join(report) and os.kill(os.getpid(), 9)
""",
}


@pytest.mark.parametrize("when", KILLS)
def test_a_launch_completes_what_a_killed_one_left_at_its_end(when: str, study: Make, place: Path) -> None:
    assert run(study("search.trials=1", "search.references=[]")) == 0  # its report must not be taken for the larger's
    larger = ["search.trials=2", "search.references=[]"]
    process = start(KILLS[when], repr(larger), "fake_fit:fit")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, out
    page = place / "out/s/report/report.html"
    assert page.exists() == (when != "between table and report")
    deadline = time.monotonic() + 10
    while when != "before the table" and alive(process.pid):  # Ray is left, and what draws the report ends with us
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert run(study(*larger)) == 0
    assert pq.read_table(place / "out/s/results.parquet").num_rows == 8
    assert "2 runs" in page.read_text()
    assert parent(place).info.status == "FINISHED"
    assert sorted(mlflow_children(place)) == ["search-0000", "search-0001"]


@pytest.mark.parametrize("stuck", ["raylet", "ray::ResourceTrainable"])
def test_a_stop_ends_though_a_process_of_rays_is_stuck(stuck: str, study: Make, place: Path) -> None:
    process = start("", "['search.trials=2', 'train.epochs=99', 'resources.stop_grace_s=2']", "fake_fit:slow")
    wait_for_an_epoch(process, place)
    for child in psutil.Process(process.pid).children(recursive=True):
        if " ".join(child.cmdline()).split(" ")[0].rpartition("/")[2].startswith(stuck):
            child.suspend()
            break
    else:
        pytest.fail(f"no {stuck} runs")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 143, out
    assert "Continue with:  THE COMMAND" in out
    assert not (place / "out/s/lease.json").exists()
    assert parent(place).info.status == "KILLED"
    assert {record.state for record in records(place).values()} == {State.INTERRUPTED}
    time.sleep(1)
    assert alive(process.pid) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143)])
def test_a_signal_stops_the_study_and_the_same_command_finishes_it(
    study: Make, place: Path, number: signal.Signals, code: int
) -> None:
    process = start("", "['search.trials=4']", "fake_fit:slow")
    wait_for_an_epoch(process, place)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == code, out
    again = "Ctrl-C again" if number is signal.SIGINT else "a second signal"
    assert re.search(rf"stopping: (waiting up to 30 s for \d epochs? in flight|no epoch is in flight); {again}", out)
    assert "Continue with:  THE COMMAND" in out
    assert "Traceback" not in out
    interrupted = records(place)
    assert State.RUNNING not in {record.state for record in interrupted.values()}
    assert State.INTERRUPTED in {record.state for record in interrupted.values()}
    assert {run.info.status for run in mlflow_children(place).values()} <= {"KILLED", "FINISHED"}

    assert run(study("search.trials=4")) == 0
    finished = records(place)
    assert len(finished) == 4 + len(study().spec.search.references)
    assert {record.state for record in finished.values()} == {State.COMPLETE}
    for key, record in interrupted.items():
        assert finished[key].planned.config == record.planned.config
        if record.state is State.COMPLETE:
            assert finished[key] == record
    assert {run.info.status for run in mlflow_children(place).values()} == {"FINISHED"}


def test_a_running_cluster_of_two_nodes_is_used_and_left_running(study: Make, place: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=2)
        wide = study(
            "search.trials=3", "search.references=[]", "resources.cpu=2"
        )  # only the second node is wide enough
        target = Target(cluster.address, fit="fake_fit:fit")
        with pytest.raises(InputError, match="the cluster has 2 nodes, and a relative path is another place on each"):
            launch(wide, storage="out", target=target, command="")
        with pytest.raises(InputError, match=r"tracking\.uri sqlite.*the cluster has 2 nodes"):
            launch(wide, storage=str(place / "out"), target=target, command="")
        untracked = study("search.trials=3", "search.references=[]", "resources.cpu=2", "tracking.enabled=false")
        assert launch(untracked, storage=str(place / "out"), target=target, command="") == 0
        assert {record.epochs[-1]["threads"] for record in records(place).values()} == {2}
        ray.init(address=cluster.address)
        assert len(ray.nodes()) == 2
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_a_killed_driver_loses_no_trial_and_runs_none_twice(study: Make, place: Path) -> None:
    script = (
        "import sys; from orchestrator.launch.one_launch import Target, launch;"
        "from orchestrator.studyfile import load;"
        "sys.exit(launch(load('s.yaml', ['search.trials=4', 'train.epochs=2']), storage='out',"
        "target=Target(fit='fake_fit:slow'), command=''))"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 90
    while not list(place.glob("out/s/trials/*/verdict.json")):
        assert time.monotonic() < deadline, "no verdict in 90 s"
        time.sleep(0.05)
    process.kill()
    process.wait()
    time.sleep(2)  # Ray's processes end with their driver; a worker may still write its epoch
    ended = next(iter(place.glob("out/s/trials/*/verdict.json"))).parent
    ended.joinpath("verdict.json").unlink()  # as if the kill had come a moment earlier
    before = records(place)
    assert before[ended.name].state is State.RUNNING
    written = ended.joinpath("epochs-1.json").stat().st_mtime_ns
    assert run(study("search.trials=4", "train.epochs=2")) == 0
    after = records(place)
    assert len(after) == 4 + len(study().spec.search.references)
    assert {record.state for record in after.values()} == {State.COMPLETE}
    assert ended.joinpath("epochs-1.json").stat().st_mtime_ns == written, "it was not run again"
    assert {run.info.status for run in mlflow_children(place).values()} == {"FINISHED"}


def test_another_study_under_the_same_name_is_refused(study: Make, place: Path) -> None:
    store = Store(str(place / "out"), "s")
    store.write_study(study().resolved())
    with pytest.raises(
        InputError,
        match=r"differs in train\.epochs: its trials cannot be compared",
    ):
        run(study("train.epochs=7"))
    assert json.loads((place / "out/s/study.json").read_text())["content"]["specification"]["train"]["epochs"] == 4
