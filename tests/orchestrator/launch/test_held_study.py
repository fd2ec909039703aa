"""A launch that finds its study held by another one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from orchestrator import track
from orchestrator.errors import TryAgain
from orchestrator.launch import one_launch
from orchestrator.launch.one_launch import OpenStudy, RunOutcome, Target, launch
from orchestrator.store.layout import LEASE
from orchestrator.store.lease import StudyHeldError, holder, lease
from orchestrator.store.records import Store
from orchestrator.studyfile import Study

Make = Callable[..., Study]
ROOT = Path(__file__).parents[3]
COMMAND = """
import sys
from orchestrator import sweep
from orchestrator.launch import one_launch
one_launch.prepare = lambda *_: print("prepared", flush=True)
def run(*_):
    print("it runs", flush=True)
    return one_launch.RunOutcome(problem="this test runs no trial")
one_launch._run = run
sys.exit(sweep.main(sys.argv[1:]))
"""
HOLDER = """
import sys, time
from orchestrator.store.lease import lease
from orchestrator.store.records import Store
with lease(Store("out", "s").objects, print):
    print("held", flush=True)
    time.sleep(100)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("DROPCLASS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@contextmanager
def process(code: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    call = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


def until(words: str, stream: IO[str] | None) -> str:
    """The line that holds the words."""
    assert stream is not None
    for line in stream:
        if words in line:
            return line
    pytest.fail(f"it never says {words!r}")


@contextmanager
def held_and_waited_for(*options: str) -> Iterator[tuple["subprocess.Popen[str]", "subprocess.Popen[str]"]]:
    """A process that holds the study, and the command that waits for it."""
    with process(HOLDER) as other:
        until("held", other.stdout)
        settings = ("--storage", "out", "--set", "tracking.enabled=false")
        with process(COMMAND, "s.yaml", *settings, *options) as waiting:
            yield other, waiting


@pytest.mark.integration
@pytest.mark.parametrize(
    ("number", "why"),
    [(signal.SIGINT, "The other launch has ended: this one goes on."), (signal.SIGKILL, "is no more")],
    ids=["ends", "is killed"],
)
def test_the_waiting_launch_goes_on_when_the_other_one(number: signal.Signals, why: str, study: Make) -> None:
    study()
    with held_and_waited_for() as (other, waiting):
        said = until("Another launch runs this study", waiting.stdout)
        for words in (f"process {other.pid}, last heartbeat", "Ctrl-C leaves", "--no-wait"):
            assert words in said
        other.send_signal(number)
        other.wait()
        began = time.monotonic()
        until(why, waiting.stdout)
        until("it runs", waiting.stdout)
        assert time.monotonic() - began < 10
        assert waiting.wait(60) == 3
    assert not Path("out/s", LEASE).exists()


@pytest.mark.integration
def test_ctrl_c_leaves_the_waiting_launch_and_nothing_is_written(study: Make, place: Path) -> None:
    study()
    with held_and_waited_for() as (other, waiting):
        until("Another launch runs this study", waiting.stdout)
        before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file() and path.name != LEASE}
        waiting.send_signal(signal.SIGINT)
        out, err = waiting.communicate(timeout=30)
        assert waiting.returncode == 130
        assert "Interrupted; nothing that finished is lost. Continue with:" in err
        assert "Traceback" not in out + err
        after = {path: path.read_bytes() for path in place.rglob("*") if path.is_file() and path.name != LEASE}
        assert after == before
        latest = holder(Store("out", "s").objects)
        assert latest is not None
        assert (latest.pid, other.poll()) == (other.pid, None)


@pytest.mark.integration
def test_no_wait_is_code_75_and_one_line(study: Make) -> None:
    Store("out", "s").write_study(study().resolved())
    with held_and_waited_for("--no-wait") as (other, waiting):
        out, err = waiting.communicate(timeout=60)
        assert waiting.returncode == os.EX_TEMPFAIL == 75
        assert out == "", "nothing takes its time before"
        (line,) = err.splitlines()
        assert "another launch runs this study" in line
        assert f"process {other.pid}, last heartbeat" in line
        assert line.endswith("try again once it has ended")
        assert other.poll() is None


@pytest.fixture
def without_trials(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What launches of this process do in place of running trials."""
    done: list[str] = []

    def run(_opened: OpenStudy, *_: object) -> RunOutcome:
        done.append("runs")
        return RunOutcome(problem="this test runs no trial")

    monkeypatch.setattr("orchestrator.store.lease.POLL_S", 0.02)
    monkeypatch.setattr(one_launch, "prepare", lambda *_: done.append("prepares"))
    monkeypatch.setattr(one_launch, "_run", run)
    return done


def test_who_loses_the_race_for_a_free_study_waits_on(
    study: Make, without_trials: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quicker = iter([True, False])

    def race(*arguments: object) -> object:
        if next(quicker):
            raise StudyHeldError("another launch took it in the same moment")
        return lease(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(one_launch, "lease", race)
    loaded = study("tracking.enabled=false")
    assert launch(loaded, storage="out", target=Target(), command="again") == 3
    assert without_trials == ["prepares", "runs"]


def test_what_is_wrong_is_told_before_the_waiting(study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = study("tracking.enabled=false")
    store = Store("out", "s")
    store.write_study(loaded.resolved())

    def refuse(*_: object) -> None:
        raise TryAgain("the model cannot be built")

    monkeypatch.setattr(one_launch, "prepare", refuse)
    with lease(store.objects, print), pytest.raises(TryAgain, match="the model cannot be built"):
        launch(loaded, storage="out", target=Target(), command="again")


def test_track_leaves_a_launch_that_is_at_work_alone(study: Make, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store("out", "s")
    store.write_study(study().resolved())
    with lease(store.objects, print):
        assert track.main(["s", "--storage", "out"]) == 75
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "another launch runs this study" in captured.err
