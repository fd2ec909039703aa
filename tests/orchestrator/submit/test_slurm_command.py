"""The command of ``submit slurm`` and its refusals, with a stand-in for sbatch; tests/cluster has the real one."""

import os
import shlex
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from orchestrator.submit.__main__ import main

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "deploy/slurm/sweep.sbatch"
SPEC = """
study: s
objective: {metric: val/miou, mode: max}
data: {name: shapes}
model: {arch: linknet, encoder: tu-test_resnet, encoder_weights: null}
train: {epochs: 1, batch_size: 2}
suppression: {p_max: {uniform: [0, 1]}}
search: {trials: 2}
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "s.yaml").write_text(SPEC)
    (tmp_path / "bin").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    return tmp_path


def program(place: Path, name: str, script: str) -> None:
    path = place / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_dry_run_shows_the_command_and_the_script(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["--nodes", "4", "--gpus-per-node", "a100:4", "--time", "4:00:00", "--qos=high", "--dry-run"]
    assert main(["slurm", "s.yaml", *typed, "--", "--set", "search.trials=[3, 4]"]) == 2
    assert "search.trials" in capsys.readouterr().err
    assert main(["slurm", "s.yaml", *typed, "--", "--set", "search.trials=3", "--max-concurrent", "2"]) == 0
    line, _, script = capsys.readouterr().out.partition("\n\n")
    assert script == SCRIPT.read_text()
    words = shlex.split(line)
    path, spec, *sweep = words[6:]
    assert words[:6] == [
        "sbatch",
        "--job-name=s",
        "--nodes=4",
        "--gpus-per-node=a100:4",
        "--time=4:00:00",
        "--qos=high",
    ]
    assert Path(path).samefile(SCRIPT)
    assert spec == "s.yaml"
    assert sweep == ["--set", "search.trials=3", "--max-concurrent", "2", f"--storage={place}/studies"]


def test_a_submitted_job_is_told_with_its_log_and_how_to_see_the_study(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program(place, "sbatch", 'echo "$@" > arguments; echo "12;cluster"')
    program(place, "scontrol", 'echo "   StdErr=/no"; echo "   StdOut=/shared/my s-12.log"')
    assert main(["slurm", "s.yaml", "--nodes=2", "--", "--storage", "s3://bucket/all"]) == 0
    job, log, status = capsys.readouterr().out.splitlines()
    assert job == "job     12; end it with  scancel 12"
    assert log == "log     /shared/my s-12.log"
    assert status.endswith("-m orchestrator.status s --storage s3://bucket/all")
    arguments = (place / "arguments").read_text().split()
    assert arguments[0] == "--parsable"
    assert arguments[-3:] == ["--storage", "s3://bucket/all", "--storage=s3://bucket/all"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no.yaml"], "no.yaml: no such file or directory"),
        (["s.yaml", "--", "--set", "search.trails=3"], "search.trails: unknown key 'trails'"),
        (["s.yaml", "--constraint", "a100"], "a100: neither a study file nor an option; write options of sbatch as"),
        (["s.yaml", "--", "--address", "h:1"], "--address h:1: a job starts a Ray of its own; leave it away"),
        (["s.yaml", "--", "--dry-run"], "--dry-run: give it before --"),
        (["s.yaml"], "sbatch: not found; submit where SLURM's commands are, such as a login node"),
    ],
)
def test_bad_input_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["slurm", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert message in printed.err


def test_several_nodes_need_a_server_of_mlflows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert main(["slurm", "s.yaml", "--nodes=2", "--dry-run"]) == 2
    refusal = "tracking.uri (by default) sqlite:///mlflow.db: this database is a file of one machine, and the job has 2"
    assert capsys.readouterr().err.startswith(refusal)
    assert main(["slurm", "s.yaml", "--dry-run"]) == 0
    assert main(["slurm", "s.yaml", "--nodes=2", "--dry-run", "--", "--set", "tracking.enabled=false"]) == 0


def test_a_refusal_of_slurms_is_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program(place, "sbatch", "echo 'sbatch: error: invalid partition: x\nsbatch: error: Batch job failed' >&2; exit 1")
    assert main(["slurm", "s.yaml", "--partition=x"]) == 2
    assert capsys.readouterr().err == "sbatch refuses the job: invalid partition: x; Batch job failed\n"


@pytest.mark.parametrize("word", ["--nodes=0", "--nodes=two", "--cpus-per-task=-1"])
def test_counts_are_counts(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["slurm", "s.yaml", word])
    assert "must be a whole number from 1 to 999999" in capsys.readouterr().err


def test_an_installed_package_has_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real PATH
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("orchestrator", "trainable", "deploy", "search_spaces"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('.'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(source / done.stdout.split()[-1]) as wheel:
        assert wheel.read("orchestrator/submit/templates/sweep.sbatch") == SCRIPT.read_bytes()


def test_the_script_is_valid_bash_and_finds_nothing_relative_to_itself() -> None:
    assert subprocess.run(["/bin/bash", "-n", str(SCRIPT)], env=os.environ, check=False).returncode == 0
    code = [line for line in SCRIPT.read_text().splitlines() if not line.startswith("#")]
    assert not [line for line in code if "$0" in line or "BASH_SOURCE" in line]
