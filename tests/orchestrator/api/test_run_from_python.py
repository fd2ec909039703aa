"""``orchestrator.run``: what reaches the launch, what comes back, what interrupts it; with Ray twice in one process."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import orchestrator
from orchestrator.driver.stop import Interruption, Stop
from orchestrator.launch.one_launch import Target
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Study as StudyFile

ROOT = Path(__file__).parents[3]
SPEC: dict[str, Any] = {
    "study": "s",
    "objective": {"metric": "val/miou", "mode": "max"},
    "data": {"name": "shapes"},
    "model": {"arch": "fpn", "encoder": "resnet18", "encoder_weights": None},
    "train": {"epochs": 4, "batch_size": 20, "lr": np.float32(0.5)},
    "suppression": {"p_max": {"uniform": [0.0, 1.0]}},
    "search": {"sampler": "random", "trials": 3, "references": []},
    "tracking": {"enabled": False},
}


class FakeLaunch:
    """Takes what a launch takes, and ends as it is told."""

    def __init__(self) -> None:
        self.study: StudyFile
        self.target: Target
        self.command = ""
        self.storage = ""
        self.end: Callable[[Stop], int] = lambda _stop: 0
        self.state = State.COMPLETE

    def __call__(self, study: StudyFile, *, storage: str, target: Target, command: str, stop: Stop) -> int:
        self.study, self.target, self.command, self.storage = study, target, command, storage
        store = Store(storage, study.spec.study)
        store.write_study(study.resolved())
        config = study.space.trial(study.space.center(), seed=0).model_dump(mode="json")
        planned = Planned("search-0000", "search", 0, config, {"suppression.p_max": 0.5})
        store.judge(Record(planned, ({"val/miou": 0.5},) * 4).ended(self.state, "because"), {})
        return self.end(stop)


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeLaunch:
    monkeypatch.chdir(tmp_path)
    fake = FakeLaunch()
    monkeypatch.setattr("orchestrator.launch.one_launch.launch", fake)
    return fake


def test_a_mapping_is_a_study_file(launch: FakeLaunch) -> None:
    study = orchestrator.run(SPEC)
    assert study.exit_code == 0
    assert study.best is not None
    assert study.best.objective == 0.5
    assert launch.storage == "studies"
    assert launch.study.spec.search.trials == 3
    assert launch.study.resolved()["train"]["lr"] == 0.5  # type: ignore[index,call-overload]
    assert launch.command == "the same call of orchestrator.run"
    assert Path("studies/s/study.json").is_file()


def test_a_file_with_values_in_place_of_its_own(launch: FakeLaunch, tmp_path: Path) -> None:
    from trainable.configfile.trees import write_yaml

    path = tmp_path / "a study.yaml"
    path.write_text(write_yaml({**SPEC, "train": {"epochs": 4, "batch_size": 20, "lr": 0.5}}))
    values = {"train.epochs": 2, "model.arch": "linknet", "suppression.layer": {"choice": ["decoder", "encoder.4"]}}
    orchestrator.run(path, set=values, storage=tmp_path / "other")
    tree = launch.study.resolved()
    assert tree["train"]["epochs"] == 2  # type: ignore[index,call-overload]
    assert tree["model"]["arch"] == "linknet"  # type: ignore[index,call-overload]
    assert tree["suppression"]["layer"] == {"choice": ["decoder", "encoder.4"]}  # type: ignore[index,call-overload]
    assert launch.command.endswith(f"--storage {tmp_path}/other")
    assert "-m orchestrator.sweep" in launch.command
    assert "--set train.epochs=2" in launch.command
    orchestrator.run(str(path), set=["train.epochs=3", "study=t"])
    assert launch.study.resolved()["train"]["epochs"] == 3  # type: ignore[index,call-overload]


def test_options_reach_the_launch(launch: FakeLaunch) -> None:
    until = datetime.now() + timedelta(hours=1)
    orchestrator.run(SPEC, address="auto", max_concurrent=3, retry_failed=True, wait=False, until=until)
    expected = Target("auto", max_concurrent=3, retry_failed=True, wait=False, until=until.timestamp())
    assert launch.target == expected


@pytest.mark.parametrize(
    ("spec", "options", "said"),
    [
        ({**SPEC, "train": {"epoch": 4}}, {}, "the mapping: train.epoch: unknown key"),
        (SPEC, {"set": {"train.epoch": 2}}, "--set train.epoch=2: train.epoch: unknown key"),
        (SPEC, {"set": "train.epochs=2"}, "set: a mapping, or a list of texts"),
        ({**SPEC, "model": object()}, {}, "stands for no value of a study file"),
        ("none.yaml", {}, "none.yaml: no such file"),
        ({}, {}, "the mapping: study: missing"),
        (3, {}, "the study file: expected a name or a path, got 3"),
        (SPEC, {"storage": 3}, "storage: expected a name or a path, got 3"),
        (SPEC, {"set": 3}, "set: expected a name or several, got 3"),
        (SPEC, {"set": [3]}, "set: expected a name or several, got 3"),
        (SPEC, {"max_concurrent": "2"}, "max_concurrent: must be 1 or more, a whole number; got '2'"),
        (SPEC, {"until": "noon"}, "until: a time or seconds since 1970; got 'noon'"),
        (SPEC, {"until": 5.0}, "until: must lie ahead"),
        (SPEC, {"max_concurrent": 0}, "max_concurrent: must be 1 or more"),
    ],
)
def test_mistakes(launch: FakeLaunch, spec: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(orchestrator.InputError) as refused:
        orchestrator.run(spec, **options)
    assert said in str(refused.value)
    assert "/tmp" not in str(refused.value)
    assert not Path("studies").exists()


def test_a_mistake_that_the_launch_finds_names_no_file_of_ours(launch: FakeLaunch) -> None:
    def refuse(_stop: Stop) -> int:
        raise orchestrator.InputError(f"{launch.study.path}: data.root: the files differ")

    launch.end = refuse
    with pytest.raises(orchestrator.InputError, match=r"^the mapping: data\.root: the files differ$"):
        orchestrator.run(SPEC)


def test_failed_trials_are_in_what_comes_back(launch: FakeLaunch) -> None:
    launch.end, launch.state = lambda _stop: 3, State.FAILED
    study = orchestrator.run(SPEC)
    assert study.exit_code == 3
    assert [(trial.key, trial.reason) for trial in study.failed] == [("search-0000", "because")]


def interrupted(stop: Stop) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    while not stop.requested:
        pass
    return 130


def unwound(stop: Stop) -> int:
    interrupted(stop)
    raise Interruption


def test_an_interruption_is_one_once_everything_is_written(launch: FakeLaunch) -> None:
    for end in (interrupted, unwound):
        launch.end = end
        before = signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt, match=r"Interrupted.*Continue with:  the same call") as raised:
            orchestrator.run(SPEC)
        assert type(raised.value) is KeyboardInterrupt
        assert signal.getsignal(signal.SIGINT) is before, "the caller's handler is back"


def test_an_interruption_in_the_last_moment_leaves_the_signals_to_whoever_had_them(
    launch: FakeLaunch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes while the launch gives them back, or before it can begin to."""
    before = signal.getsignal(signal.SIGINT)
    join, leave = threading.Thread.join, Stop.__exit__

    def interrupted_join(thread: threading.Thread, timeout: float | None = None) -> None:
        join(thread, timeout)
        if thread.name == "signals":
            monkeypatch.setattr(threading.Thread, "join", join)
            raise Interruption

    def interrupted_exit(stop: Stop, *exc: object) -> None:
        monkeypatch.setattr(Stop, "__exit__", leave)
        raise Interruption

    for owner, name, replacement in (
        (threading.Thread, "join", interrupted_join),
        (Stop, "__exit__", interrupted_exit),
    ):
        monkeypatch.setattr(owner, name, replacement)
        launch.end = interrupted
        with pytest.raises(KeyboardInterrupt):
            orchestrator.run(SPEC)
        assert signal.getsignal(signal.SIGINT) is before
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        assert not [thread for thread in threading.enumerate() if thread.name == "signals"]


def test_a_second_interruption_never_ends_the_process() -> None:
    code = """
import os, signal, threading, time
from orchestrator.driver.guest_stop import GuestStop

def send():
    for pause in (0.2, 0.6):
        time.sleep(pause)
        os.kill(os.getpid(), signal.SIGINT)

stop = GuestStop("the call")
stop.settle()                        # nothing but a second signal interrupts now
began = time.monotonic()
try:
    with stop:
        threading.Thread(target=send, daemon=True).start()
        time.sleep(30)
except KeyboardInterrupt:
    print("unwound", 0.6 < time.monotonic() - began < 10, stop.exit_code)
print("alive")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["unwound True 130", "alive"], done.stderr
    assert done.returncode == 0
    assert "stopping now" in done.stderr


def test_it_runs_in_any_thread(launch: FakeLaunch) -> None:
    studies: list[orchestrator.Study] = []
    thread = threading.Thread(target=lambda: studies.append(orchestrator.run(SPEC)))
    thread.start()
    thread.join()
    assert [study.exit_code for study in studies] == [0]


REAL = """
import orchestrator, threading
spec = {spec!r}
study = orchestrator.run(spec, set={{"search.trials": 2}})
print("first", len(study.records), study.exit_code)
more = []
thread = threading.Thread(target=lambda: more.append(orchestrator.run(spec)))
thread.start(); thread.join()
print("second", len(more[0].records), more[0].exit_code, len(more[0].unfinished))
print("third", orchestrator.run(spec).exit_code)
import ray
assert not ray.is_initialized()
"""


@pytest.mark.integration
def test_twice_in_one_process_and_once_in_another_thread(tmp_path: Path) -> None:
    spec = {**SPEC, "train": {"epochs": 2, "batch_size": 20}, "resources": {"cpu": 1}}
    code = "import orchestrator.launch.one_launch as one\n" + (
        "one.Target.__init__.__kwdefaults__ = None\n"
        "defaults = list(one.Target.__init__.__defaults__)\n"
        "defaults[defaults.index(one.ENGINE)] = 'fake_fit:fit'\n"
        "one.Target.__init__.__defaults__ = tuple(defaults)\n"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "orchestrator")])
    done = subprocess.run(
        [sys.executable, "-c", code + REAL.format(spec=spec)], cwd=tmp_path, capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith(("first", "second", "third"))]
    assert lines == ["first 2 0", "second 3 0 0", "third 0"]
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout
