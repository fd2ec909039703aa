"""Shared prefixes on a real Ray: a Ctrl-C and a SIGKILL on the way, and the rows of a study that shares nothing."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.launch.one_launch import Target, launch
from orchestrator.store.records import Store
from orchestrator.store.shared_epochs import shared_epochs
from orchestrator.studyfile import load
from trainable.evaluate.metrics.names import repeats

pytestmark = pytest.mark.integration

FILE = """
study: s
objective: {metric: val/miou, mode: max}
data: {name: shapes, size: [32, 32], train_images: 6, val_images: 2}
model: {arch: linknet, encoder: tu-test_resnet, encoder_weights: null}
train: {epochs: 4, batch_size: 2}
suppression: {start: 0.5, schedule: constant, loss_ramp: constant, gate_norm: mean, p_max: 0.8}
ablation:
  design: arms
  seeds: 2
  arms:
    plain: plain
    encoder: {suppression.layer: encoder.3, suppression.start: 0.75}
    input: {suppression.layer: input, suppression.mechanism: {name: erase}}
    branch: {model.arch: hrnet, model.encoder: tu-hrnet_w18_small, suppression.layer: branch.2}
    branches: {model.arch: hrnet, model.encoder: tu-hrnet_w18_small, suppression.layer: [branch.1, branch.4]}
tracking: {enabled: false}
resources: {cpu: 1, max_concurrent: 1}
"""
SAVED = 2 * ((3 + 3 + 2 + 2 - 3) + (2 + 2 - 2))
"""On each seed plain and encoder take over 3 epochs of 3, baseline (decoder) and input 2; the branches 2 of 2."""
SCRIPT = (
    "import sys; from orchestrator.launch.one_launch import Target, launch;"
    "from orchestrator.studyfile import load;"
    "sys.exit(launch(load('s.yaml'), storage='out', target=Target(), command='THE COMMAND'))"
)


@contextmanager
def _started(log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    with log.open("ab") as stream:
        process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=stream, stderr=stream)
    try:
        yield process
    finally:
        process.kill()
        process.wait(60)


def _wait_for(place: Path, pattern: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 600
    while not list(place.glob(f"out/s/trials/{pattern}")):
        assert time.monotonic() < deadline, f"no {pattern} in 600 s"
        assert process.poll() is None, (place / "log.txt").read_text()
        time.sleep(0.05)


def _rows(storage: str) -> list[dict[str, str]]:
    found = pq.read_table(f"{storage}/s/results.parquet").to_pylist()
    return [
        {name: repr(value) for name, value in row.items() if repeats(name)} for row in found if row["kind"] != "prefix"
    ]


@pytest.mark.timeout(1800)
def test_rows_are_those_of_an_unshared_study_whatever_happens_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "s.yaml").write_text(FILE)
    log = tmp_path / "log.txt"
    with _started(log) as process:  # a Ctrl-C in a prefix
        _wait_for(tmp_path, "prefix-*/checkpoint-1-1.bin", process)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130, log.read_text()
    assert not list(tmp_path.glob("out/s/trials/ablation-*"))
    with _started(log) as process:  # a SIGKILL in an heir
        _wait_for(tmp_path, "ablation-*/epochs-1.json", process)
    with _started(log) as process:
        assert process.wait(1200) == 0, log.read_text()
    told = log.read_text()
    assert "ablation: first 4 shared prefixes of 3 epochs, which save 18" in told
    assert (
        f"prefixes: 12 runs began with the 10 epochs of 4 shared prefixes, 28 with each its own: {SAVED} epochs saved"
        in told
    )
    assert "Traceback" not in told
    assert shared_epochs(Store("out", "s").records()).saved == SAVED == 18
    assert not list(tmp_path.glob("out/s/trials/*/checkpoint-*"))
    assert "Blocks share their prefix" in (tmp_path / "out/s/report/report.md").read_text()

    study = load("s.yaml", ["resources.share_prefixes=false"])
    assert launch(study, storage="unshared", target=Target(), command="again") == 0
    assert not list(tmp_path.glob("unshared/s/trials/prefix-*"))
    assert _rows("out") == _rows("unshared")
