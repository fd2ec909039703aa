"""Studies as jobs of a real SLURM: to the end, through warnings, preemption, lost nodes, and not beyond scancel.

Each test says on stdout how many seconds passed (``-s``); what they may be is not asserted, machines differ.
"""

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from host_studies import STUDY
from noted_fit import NOTES, Note, notes_in
from slurm import SCRIPT, Job, Slurm, obstacle, slurm_on_hosts

from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(bool(obstacle()), reason=obstacle() or "")]
LONGER = STUDY.replace("epochs: 5", "epochs: 8")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with slurm_on_hosts(tmp_path_factory.mktemp("slurm") / "s", ["b", "c"]) as running:
        yield running
        for folder in running.scratch.iterdir():  # of a killed host, where no other job came after
            if folder.stat().st_mtime == 0:
                shutil.rmtree(folder)


class Study:
    """A study in a folder of its own, and what became of it."""

    def __init__(self, folder: Path, slurm: Slurm) -> None:
        self.folder, self.slurm = folder, slurm
        folder.mkdir()
        (folder / "s.yaml").write_text(LONGER)

    @property
    def notes(self) -> list[Note]:
        return notes_in(self.folder / "notes.txt")

    @property
    def records(self) -> list[Record]:
        return Store(str(self.folder / "studies"), "s").records()

    @property
    def environment(self) -> dict[str, str]:
        return {NOTES: str(self.folder / "notes.txt")}

    def submit(self, *options: str, script: Path = SCRIPT, sweep: tuple[str, ...] = ()) -> Job:
        words = [*options, "--cpus-per-task=1", str(script), "s.yaml", *sweep]
        return self.slurm.submit(self.folder, *words, **self.environment)

    def wait_for_epochs(self, job: Job, count: int) -> None:
        """Wait for so many more."""
        before = len(self.notes)
        job.wait_until(lambda: len(self.notes) >= before + count)

    @property
    def repeated(self) -> int:
        """How many epochs were trained more than once."""
        return sum(count > 1 for count in Counter((note.seed, note.epoch) for note in self.notes).values())

    def assert_whole(self, trials: int, epochs: int) -> None:
        records = self.records
        assert len(records) == trials
        assert {record.state.name for record in records} == {"COMPLETE"}
        assert {len(record.epochs) for record in records} == {epochs}


def test_a_study_outlives_warning_preemption_and_a_killed_node(slurm: Slurm, tmp_path: Path) -> None:
    study = Study(tmp_path / "w", slurm)
    began = time.time()
    job = study.submit("--nodes=2")
    study.wait_for_epochs(job, 4)
    print(f"first epochs after {time.time() - began:.1f} s")
    assert {note.host for note in study.notes} == {"b", "c"}

    warned = time.time()
    slurm.run("scancel", "--batch", "--signal=USR1", job.number)
    job.wait_until(lambda: "requeued: the time of this start is over" in job.output)
    print(f"requeued {time.time() - warned:.1f} s after the warning")
    study.wait_for_epochs(job, 4)
    print(f"first epochs {time.time() - warned:.1f} s after the warning")
    assert study.repeated == 0

    preempted = time.time()
    slurm.run("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    job.wait_until(lambda: "requeued: the job was preempted" in job.output)
    print(f"requeued {time.time() - preempted:.1f} s after the preempting job came")
    study.wait_for_epochs(job, 4)
    print(f"first epochs {time.time() - preempted:.1f} s after the preempting job came")
    assert study.repeated == 0

    slurm.hosts["c"].kill()
    os.utime(slurm.scratch / f"sweep-{job.number}-c", (0, 0))  # left behind: the next job there sees that it is old
    assert job.wait() == "0", job.output
    print(f"done after {time.time() - began:.1f} s; {study.repeated} epochs repeated")
    study.assert_whole(trials=6, epochs=8)
    assert study.repeated <= 1
    assert job.output.count("not requeued: the study is done") == 1
    print(job.output)
    slurm.start_node("c")


def test_jobs_share_a_node_and_end_at_scancel_or_in_time(slurm: Slurm, tmp_path: Path) -> None:
    # a site without the warning: the end of the job's two minutes comes while the others run
    timed = Study(tmp_path / "timed", slurm)
    script = timed.folder / "sweep.sbatch"
    script.write_text(SCRIPT.read_text().replace("#SBATCH --signal=B:USR1@120\n", ""))
    sweep = ("--set", "train.epochs=11", "--set", "resources.stop_grace_s=5")
    unwarned = timed.submit("--nodelist=c", "--time=2", script=script, sweep=sweep)

    stays, goes = Study(tmp_path / "stays", slurm), Study(tmp_path / "goes", slurm)
    jobs = [study.submit("--nodelist=b", sweep=("--set", "search.trials=3")) for study in (stays, goes)]
    goes.wait_for_epochs(jobs[1], 2)
    stays.wait_for_epochs(jobs[0], 1)
    slurm.run("scancel", jobs[1].number)
    jobs[1].wait()
    assert jobs[1].state == "CANCELLED"
    assert "not requeued: the job was cancelled" in jobs[1].output
    assert not (goes.folder / "studies/s/lease.json").exists()
    assert jobs[0].wait() == "0", jobs[0].output
    stays.assert_whole(trials=3, epochs=8)
    assert stays.repeated == 0

    assert unwarned.wait() == "0", unwarned.output
    assert "requeued: the sweep asks for another try (75)" in unwarned.output
    timed.assert_whole(trials=6, epochs=11)
    assert timed.repeated == 0
    print(jobs[1].output, unwarned.output)


def test_submit_submits_what_slurm_takes(slurm: Slurm, tmp_path: Path) -> None:
    study = Study(tmp_path / "w", slurm)
    submit = ["python", "-m", "orchestrator.submit", "slurm", "s.yaml"]
    bad = slurm.refused(*submit, "--", "--set", "search.trails=1", folder=study.folder)
    assert "search.trails: unknown key" in bad
    assert slurm.refused(*submit, "--partition=none", folder=study.folder).startswith("sbatch refuses the job: invalid")
    assert slurm.run("squeue", "-h") == ""
    options = ("--cpus-per-task=2", "--", "--set", "train.epochs=1")
    told = slurm.run(*submit, *options, folder=study.folder, **study.environment)
    job, log, status = (line.split(maxsplit=1)[1] for line in told.splitlines())
    submitted = Job(slurm, job.partition(";")[0], Path(log))
    assert log == str(study.folder / f"s-{submitted.number}.log")
    assert submitted.wait() == "0", submitted.output
    study.assert_whole(trials=6, epochs=1)
    assert "6 complete" in slurm.run("bash", "-c", status, folder=study.folder)
