"""A launch on a machine where much is wrong, on a real Ray."""

import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.store.records import Store
from orchestrator.store.trial_record import State
from orchestrator.studyfile import Study

pytestmark = pytest.mark.integration

HERE = Path(__file__).parents[1]
OPTIONS = (
    "search.references=[]", "suppression.alpha=1.0", "suppression.sampling={name: uniform}", "search.sampler=grid",
    "suppression.p_max={choice: [0.75, 0.25]}", "search.trials=2", "tracking.enabled=false",
)  # fmt: skip

CODE = f"""
import sys
from orchestrator.launch.one_launch import Target, launch
from orchestrator.studyfile import load
target = Target(max_concurrent=2, fit="more_fits:stale_data")
sys.exit(launch(load("s.yaml", {OPTIONS!r}), storage="out", target=target, command="again"))
"""


def run() -> tuple[int, str]:
    """Launch in a process of its own: one that has met a Ray keeps the token it had then."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False, timeout=200)
    return done.returncode, done.stdout + done.stderr


def test_an_overlong_tmpdir_a_home_without_a_token_and_data_that_go_stale(
    study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{HERE}:{HERE.parents[1]}")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("HOME", "/proc")
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("x" * 90)))
    monkeypatch.setenv("STALE", str(tmp_path / "stale"))
    (tmp_path / "stale").write_text("")
    study(*OPTIONS)
    code, out = run()
    assert code == 3, out
    reason = f"node {platform.node()}: /data/frame.png: Stale file handle"
    assert "bytes too long for Ray's sockets: Ray keeps them and its logs in /" in out
    assert f"Stopped: {reason}. Once that is mended, continue with:  again" in out
    stopped, other = Store("out", "s").records()
    assert (stopped.state, stopped.reason, len(stopped.epochs)) == (State.INTERRUPTED, reason, 1)
    assert other.state is State.COMPLETE, "it goes on"
    (tmp_path / "stale").unlink()
    code, out = run()
    assert code == 0, out
    assert [(record.state, len(record.epochs)) for record in Store("out", "s").records()] == [(State.COMPLETE, 4)] * 2
