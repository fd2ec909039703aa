"""Seeds by looks on a real Ray: a launch that is killed between two looks decides as one that is not."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.launch.one_launch import Target, launch
from orchestrator.store.looks import KeptLooks
from orchestrator.store.records import Store
from orchestrator.studyfile import load

pytestmark = pytest.mark.integration

HERE = Path(__file__).parents[1]
FILE = """
study: s
objective: {metric: val/miou, mode: max}
data: {name: shapes}
model: {arch: fpn, encoder: resnet18, encoder_weights: null}
train: {epochs: 1, batch_size: 20}
suppression: {alpha: 0.3, p_max: 0.5}
ablation:
  design: one_at_a_time
  factors: {suppression.alpha: [0.3, 1, 2]}
  seeds: {looks: [6, 8, 10], spending: pocock}
tracking: {enabled: false}
"""
SCRIPT = (
    "import sys; from orchestrator.launch.one_launch import Target, launch;"
    "from orchestrator.studyfile import load;"
    "sys.exit(launch(load('s.yaml'), storage='out', target=Target(fit='more_fits:uneven'), command='again'))"
)


def kept(storage: str) -> KeptLooks:
    looks = KeptLooks.read(Store(storage, "s").objects, "ablation")
    assert looks is not None
    return looks


def rows(storage: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = pq.read_table(f"{storage}/s/results.parquet").to_pylist()
    return [{name: value for name, value in row.items() if name != "pid"} for row in found]


@pytest.mark.timeout(900)
def test_a_killed_launch_makes_the_same_decisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "s.yaml").write_text(FILE)
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 400
    while not list(tmp_path.glob("out/s/trials/ablation-*-s6/attempt-1.json")):  # after the first look
        assert time.monotonic() < deadline, "no run after the first look in 400 s"
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert len(kept("out").looks) == 1
    study = load("s.yaml")
    assert launch(study, storage="out", target=Target(fit="more_fits:uneven"), command="again") == 0
    said = capsys.readouterr().out
    assert launch(study, storage="undisturbed", target=Target(fit="more_fits:uneven"), command="again") == 0
    assert kept("out") == kept("undisturbed")
    assert rows("out") == rows("undisturbed")
    decisions = [{arm: one.decision for arm, one in look.arms.items()} for look in kept("out").looks]
    assert decisions == [{"alpha=1": "on", "alpha=2": "futile"}, {"alpha=1": "better"}]
    assert "look 2 of 3 after 8 seeds: alpha=1 stops for success" in said
    assert "look 1 of 3" not in said, "it was taken and told before"
    assert "The arms take 22 of 30 runs: 8 are spared." in (tmp_path / "out/s/report/report.md").read_text()
