"""The example of parts of one's own: installed, tested by its own tests, and its mechanism swept on two workers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from trainable.configfile.trees import read_tree

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "own_parts"


def run(folder: Path, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{path}:{ROOT}" if path else str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("DROPCLASS_PARTS", None)
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of it, so that nothing is written into the checkout."""
    return Path(shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("example") / "own_parts"))


@pytest.fixture(scope="module")
def installed(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(target)]
    done = run(example, "-m", "pip", "install", *options, ".")
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.integration
def test_the_installed_example_passes_its_own_tests(example: Path, installed: Path) -> None:
    tests = example / "tests"
    done = run(tests, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-c", os.devnull, ".", path=str(installed))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "34 passed" in done.stdout


@pytest.mark.integration
def test_the_examples_mechanism_is_swept_on_two_workers_and_its_best_trial_runs_alone(example: Path) -> None:
    """Where it lies beside the study file, and is not installed: it travels."""
    shared = example.parent / "studies"
    sweep = ["-m", "orchestrator.sweep", str(example / "study.yaml"), "--storage", str(shared)]
    sweep += ["--set", "tracking={enabled: false}", "--set", "search.trials=4"]
    elsewhere = example.parent
    done = run(elsewhere, *sweep)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = pq.read_table(shared / "own-parts" / "results.parquet").to_pylist()
    assert {row["state"] for row in rows} == {"complete"}
    assert len({row["trial"] for row in rows}) == 5
    assert all(0 <= row["val/rare_recall"] <= 1 for row in rows)
    assert {row["param.suppression.mechanism.name"] for row in rows} >= {"own_parts.mechanism:Fade", "gate"}
    claims = list((shared / "own-parts" / "trials").glob("*/attempt-1.json"))
    assert len({read_tree(claim.read_text())["content"]["pid"] for claim in claims}) == 2, "two workers"
    [line] = [line for line in done.stdout.splitlines() if line.startswith("best ")]
    assert f"DROPCLASS_PARTS={example} " in line
    best = read_tree((shared / "own-parts" / "best.yaml").read_text())
    environment = {**os.environ, "DROPCLASS_PARTS": str(example), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "trainable", str(shared / "own-parts" / "best.yaml"), "--threads", "1"]
    alone = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)
    assert alone.returncode == 0, alone.stderr
    (value,) = {row["val/rare_recall"] for row in rows if row["epoch"] == 3 and row["seed"] == best["seed"]}
    assert f"val/rare_recall = {value:.6g}\n" in alone.stdout, "the same trial bit for bit"
