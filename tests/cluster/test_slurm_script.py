"""When the script for SLURM requeues its job and when not; stand-ins for Ray and the sweep, so that nothing waits."""

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from script_stand_ins import SWEEP_CODES
from slurm import SCRIPT, Job, Slurm, obstacle, slurm_on_hosts

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(bool(obstacle()), reason=obstacle() or "")]
PYTHON = f"""#!/bin/bash
case "$1 $2" in
  "-m ray.scripts.scripts") exec {sys.executable} {Path(__file__).with_name("script_stand_ins.py")} ray "${{@:4}}" ;;
  "-m orchestrator.sweep") exec {sys.executable} {Path(__file__).with_name("script_stand_ins.py")} sweep "${{@:3}}" ;;
  *) exec {sys.executable} "$@" ;;
esac
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with slurm_on_hosts(tmp_path_factory.mktemp("slurm") / "s", ["b", "c"], PYTHON) as running:
        yield running


def submit(slurm: Slurm, folder: Path, codes: str, *options: str, script: Path = SCRIPT) -> Job:
    """A job whose starts end as `SWEEP_CODES` says."""
    words = [*options, "--cpus-per-task=1", str(script), "s.yaml", "--set", "a=b c"]
    return slurm.submit(folder, *words, **{SWEEP_CODES: codes})


def without_warning(folder: Path) -> Path:
    """The script as a site may make it."""
    script = folder / "sweep.sbatch"
    script.write_text(SCRIPT.read_text().replace("#SBATCH --signal=B:USR1@120\n", ""))
    return script


def said(job: Job) -> list[str]:
    """What the script said, without the time."""
    return re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d sweep\.sbatch: (.*)$", job.output, re.MULTILINE)


def test_exit_codes_say_whether_it_comes_back(slurm: Slurm, tmp_path: Path) -> None:
    ends = {
        "0": "not requeued: the study is done",
        "2": "not requeued: the sweep was given bad input (2)",
        "3": "not requeued: the sweep ended with 3",
        "130": "not requeued: the sweep ended with 130",
        "143": "not requeued: the sweep ended with 143",
    }
    jobs = {code: submit(slurm, tmp_path, f"1:{code}") for code in ends}
    again = submit(slurm, tmp_path, "1:75,1:0", "--time=10")
    for code, job in jobs.items():
        assert job.wait() == code
        assert said(job)[1:] == [ends[code]]
        assert f"sweep: --storage {tmp_path}/studies s.yaml --set a=b c" in job.output  # no limit, no --until
    assert again.wait() == "0"
    first, requeued, second, done = said(again)
    assert re.fullmatch(rf"job {again.number} on \w+, start 1", first)
    assert requeued == "requeued: the sweep asks for another try (75)"
    assert second == f"job {again.number} on {again.entry('NodeList')}, start 2"
    assert done == ends["0"]
    until = [int(text) for text in re.findall(r"--until (\d+)", again.output)]
    assert len(until) == 2
    assert all(0 < moment - time.time() <= 600 for moment in until)


def test_a_warning_requeues_and_scancel_does_not(slurm: Slurm, tmp_path: Path) -> None:
    warned, cancelled = (submit(slurm, tmp_path, "60:0,0:0", "--nodes=2") for _ in range(2))
    for job in (warned, cancelled):
        job.wait_until(lambda job=job: "sweep: --storage" in job.output)
    slurm.run("scancel", "--batch", "--signal=USR1", warned.number)
    slurm.run("scancel", cancelled.number)
    assert warned.wait() == "0"
    assert said(warned)[1] == "requeued: the time of this start is over"
    cancelled.wait()
    assert cancelled.state == "CANCELLED"
    assert said(cancelled)[1:] == ["not requeued: the job was cancelled; the sweep ended with 143"]
    assert warned.output.count("sweep: SIGUSR1") == 1
    assert cancelled.output.count("sweep: SIGTERM") == 1


@pytest.mark.parametrize("warning", [True, False])
def test_preemption_requeues(slurm: Slurm, tmp_path: Path, warning: bool) -> None:
    script = SCRIPT if warning else without_warning(tmp_path)
    job = submit(slurm, tmp_path, "12:143,0:0", "--nodes=2", script=script)
    job.wait_until(lambda: "sweep: --storage" in job.output)
    slurm.run("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    assert job.wait() == "0"
    assert said(job)[1] == "requeued: the job was preempted"
    assert ("sweep: SIGUSR1" in job.output) == warning


def test_a_job_whose_first_node_dies_is_requeued_by_another(slurm: Slurm, tmp_path: Path) -> None:
    job = submit(slurm, tmp_path, "300:0,0:0", "--nodes=2")
    job.wait_until(lambda: "sweep: --storage" in job.output and (slurm.scratch / f"sweep-{job.number}-c").exists())
    time.sleep(2)  # SLURM has begun the step there
    slurm.hosts["b"].kill()
    os.utime(slurm.scratch / f"sweep-{job.number}-b", (0, 0))  # left behind: the next start there sees that it is old
    job.wait_until(lambda: job.entry("Restarts") == "1")
    slurm.bring_back("b")
    assert job.wait() == "0", job.output
    assert [line.rpartition(" ")[2] for line in said(job)] == ["1", "2", "done"]


def test_an_environment_without_the_package_is_told(slurm: Slurm, tmp_path: Path) -> None:
    job = slurm.submit(tmp_path, str(SCRIPT), "s.yaml", SWEEP_SETUP="export PATH=/usr/bin:/bin; python() { false; }")
    assert job.wait() == "2"
    assert "has no ray or no orchestrator: let SWEEP_SETUP activate their environment" in job.output
    empty = slurm.submit(tmp_path, str(SCRIPT))
    assert empty.wait() == "2"
    assert "no study file: sbatch" in empty.output
    broken = slurm.submit(tmp_path, str(SCRIPT), "s.yaml", SWEEP_SETUP="false")
    assert broken.wait() == "2"
    assert "SWEEP_SETUP fails: false" in broken.output
    long = slurm.submit(tmp_path, str(SCRIPT), "s.yaml", RAY_TMPDIR="/a/path/that/is/far/too/long")
    assert long.wait() == "2"
    assert "RAY_TMPDIR=/a/path/that/is/far/too/long: too long for Ray's sockets; at most 2" in long.output
