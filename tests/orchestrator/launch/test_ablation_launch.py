"""Whole launches of an ablation on a real Ray: an interrupted one ends as an uninterrupted one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.launch.one_launch import Target, launch
from orchestrator.store.records import Store
from orchestrator.store.trial_record import State
from orchestrator.studyfile import load

pytestmark = pytest.mark.integration

HERE = Path(__file__).parents[1]
FILE = """
study: s
objective: {metric: val/miou, mode: max}
data: {name: shapes}
model: {arch: fpn, encoder: resnet18, encoder_weights: null}
train: {epochs: 2, batch_size: 20}
suppression: {alpha: 0.3, p_max: 0.5}
ablation:
  design: {name: path, target: {suppression.p_max: 0.1, suppression.alpha: 3}}
  factors: {suppression.p_max: [0.5, 0.1], suppression.alpha: [0.3, 3]}
  seeds: 2
tracking: {enabled: false}
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "s.yaml").write_text(FILE)
    return tmp_path


def run(storage: str) -> int:
    return launch(load("s.yaml"), storage=storage, target=Target(fit="fake_fit:fit"), command="again")


def rows(storage: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = pq.read_table(f"{storage}/s/results.parquet").to_pylist()
    return [{name: value for name, value in row.items() if name != "pid"} for row in found]


def test_an_interrupted_ablation_ends_with_the_results_of_an_uninterrupted_one(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = (
        "import sys; from orchestrator.launch.one_launch import Target, launch;"
        "from orchestrator.studyfile import load;"
        "sys.exit(launch(load('s.yaml'), storage='out', target=Target(fit='fake_fit:slow'), command='THE COMMAND'))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + 120
    while not list(place.glob("out/s/trials/*/verdict.json")):
        assert time.monotonic() < deadline, "no run ended in 120 s"
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert "Continue with:  THE COMMAND" in out
    assert "ablation · " in out
    assert "Traceback" not in out
    before = {record.key: record for record in Store("out", "s").records()}
    assert 0 < len(before) < 8

    assert run("out") == 0
    after = {record.key: record for record in Store("out", "s").records()}
    for key, record in before.items():
        if record.state is State.COMPLETE:
            assert after[key] == record, "it was not run again"
    assert run("undisturbed") == 0
    assert rows("out") == rows("undisturbed")
    assert len(rows("out")) == 8 * 2
    assert not list(place.glob("out/s/trials/*/checkpoint-*")), "runs of a comparison keep no checkpoint"
    capsys.readouterr()
    began = time.monotonic()
    assert run("out") == 0
    assert time.monotonic() - began < 3, "nothing was started"
    shown = capsys.readouterr().out
    assert "nothing is left to run" in shown
    assert "path: baseline -> " in shown
