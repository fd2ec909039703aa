"""A real SLURM on hosts of this machine, for tests: the first host has its controller, each other one is a node.

It has neither munge nor control groups; partition ``low`` is preempted by ``high``.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from hosts import Host, hosts
from hosts import obstacle as hosts_obstacle

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy/slurm/sweep.sbatch"
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
PATIENCE_S = 150.0
"""Far beyond what anything here takes."""
CONFIGURATION = """
ClusterName=test
SlurmctldHost={controller}({address})
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
AuthInfo=cred_expire=5
CredType=cred/none
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmdTimeout=10
KillWait=30
SchedulerParameters=sched_interval=2,batch_sched_delay=0,bf_interval=2
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=25
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""
"""Requeued jobs wait for ``cred_expire``, two minutes by default."""
# the command with an engine that trains nothing; all else that the script runs with python is the real thing
PYTHON = f"""#!/bin/bash
[ "$2" != orchestrator.sweep ] || exec {sys.executable} {ROOT}/tests/cluster/fake_sweep.py "${{@:3}}"
exec {sys.executable} "$@"
"""


def obstacle() -> str | None:
    """Why this machine cannot run SLURM on hosts; None where it can."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"no {', '.join(missing)} here (SLURM)" if missing else hosts_obstacle()


@dataclass
class Job:
    """A job that was submitted."""

    slurm: "Slurm"
    number: str
    log: Path

    @property
    def output(self) -> str:
        """What it has printed, all its starts."""
        return self.log.read_text() if self.log.exists() else ""

    @property
    def state(self) -> str:
        """In SLURM's words; empty once SLURM has forgotten it."""
        return self.entry("JobState")

    def entry(self, name: str) -> str:
        """An entry of ``scontrol show job``."""
        words = self.slurm.run("scontrol", "show", "job", self.number, "-o").split()
        return next((word.partition("=")[2] for word in words if word.startswith(f"{name}=")), "")

    @property
    def is_over(self) -> bool:
        """Whether SLURM runs and requeues it no more."""
        return self.state in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED")

    def wait_until(self, true: Callable[[], bool]) -> None:
        """Wait for something that comes before the job is over."""
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            late = time.monotonic() > deadline or (self.is_over and not true())
            assert not late, f"{self.state}\n{self.output}\n{self.slurm.log}"
            time.sleep(0.2)

    def wait(self) -> str:
        """Wait until it is over; returns its exit code."""
        self.wait_until(lambda: self.is_over)
        return self.entry("ExitCode").partition(":")[0]


@dataclass
class Slurm:
    """A SLURM at work."""

    hosts: dict[str, Host]
    folder: Path
    scratch: Path
    """Where Ray's folders are, on all nodes alike: hosts share the file system."""

    @property
    def controller(self) -> Host:
        """The host with slurmctld, where users are."""
        return next(iter(self.hosts.values()))

    @property
    def log(self) -> str:
        """The end of the controller's log."""
        return "\n".join((self.folder / "slurmctld.log").read_text().splitlines()[-30:])

    def start_node(self, name: str) -> None:
        """Start a host, or start it again, with its slurmd."""
        host = self.hosts[name]
        host.start()
        host.popen(["slurmd", "-D", "-N", name], self.folder / f"slurmd-{name}.out")

    def bring_back(self, name: str) -> None:
        """Start a host that was killed, and let it serve again, whatever SLURM has noticed of its death by now."""
        self.start_node(name)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with suppress(AssertionError):  # it is not counted as down (yet)
                self.run("scontrol", "update", f"NodeName={name}", "State=RESUME")
            state = self.run("sinfo", "-h", "-p", "low", "-n", name, "-o", "%T").strip()
            if state in ("idle", "allocated", "mixed"):
                return
            assert time.monotonic() < deadline, f"{name} is {state}\n{self.log}"
            time.sleep(1)

    def run(self, *command: str, folder: Path | None = None, **environment: str) -> str:
        """Run a command where users are."""
        variables = [f"{name}={value}" for name, value in environment.items()]
        return self.controller.run(["env", "-C", str(folder or self.folder), *variables, *command])

    def refused(self, *command: str, folder: Path) -> str:
        """What a command says that ends with exit code 2."""
        told = self.run("bash", "-c", '"$@" 2>&1; echo $?', "bash", *command, folder=folder)
        lines = told.splitlines()
        assert lines[-1] == "2", told
        assert len(lines) == 2, told
        return lines[0]

    def submit(self, folder: Path, *words: str, **environment: str) -> Job:
        """Submit the script that ships, from a folder: options of sbatch, the study file, options of the sweep."""
        number = self.run("sbatch", "--parsable", *words, folder=folder, **environment).strip()
        return Job(self, number, folder / f"sweep-{number}.log")


@contextmanager
def slurm_on_hosts(folder: Path, nodes: Sequence[str], python: str = PYTHON) -> Iterator[Slurm]:
    """SLURM with nodes of two CPUs each, whose jobs run this ``python``; in the end no process of it is left."""
    folder.mkdir(exist_ok=True)
    for name in ("state", "bin", *(f"spool-{node}" for node in nodes)):
        (folder / name).mkdir()
    (folder / "bin/python").write_text(python)
    (folder / "bin/python").chmod(0o755)
    names = ["login", *nodes]
    conf, scratch = folder / "slurm.conf", Path(tempfile.mkdtemp(prefix="s", dir="/tmp"))  # short, for sockets
    paths = [str(path) for path in (ROOT, ROOT / "tests/orchestrator", ROOT / "tests/cluster")]
    environment = {
        "SLURM_CONF": str(conf),
        "HOME": str(folder),
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "RAY_TMPDIR": str(scratch),
    }
    with hosts(folder / "hosts", names, **environment) as members:
        lines = [f"NodeName={name} NodeAddr={members[name].address} CPUs=2 RealMemory=8000" for name in nodes]
        settings = CONFIGURATION.format(folder=folder, controller="login", address=members["login"].address)
        before, _, after = settings.partition("PartitionName")
        conf.write_text("\n".join([before, *lines, f"PartitionName{after}"]))
        slurm = Slurm(members, folder, scratch)
        members["login"].start()
        members["login"].popen(["slurmctld", "-D", "-c"], folder / "slurmctld.out")
        for name in nodes:
            slurm.start_node(name)
        _wait_for_nodes(slurm, len(nodes))
        yield slurm
    assert not _processes_of(conf), "processes of SLURM's jobs are left"
    scratch.rmdir()


def _wait_for_nodes(slurm: Slurm, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if slurm.run("sinfo", "-h", "-p", "low", "-t", "idle", "-o", "%D").strip() == str(count):
                return
        except AssertionError:  # the controller does not listen yet
            pass
        assert time.monotonic() < deadline, slurm.log
        time.sleep(0.1)


def _processes_of(conf: Path) -> list[psutil.Process]:
    def has(process: psutil.Process) -> bool:
        try:
            return process.pid != os.getpid() and process.environ().get("SLURM_CONF") == str(conf)
        except psutil.Error:
            return False

    return [process for process in psutil.process_iter() if has(process)]
