"""Studies on a Ray cluster of several hosts, with an engine that trains nothing."""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from hosts import PORT, QUICK_CHECKS, Host, pid_of
from noted_fit import NOTES, Note, notes_in

from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record

ROOT = Path(__file__).parents[2]
PATHS = (ROOT, ROOT / "tests/orchestrator", ROOT / "tests/cluster")
PATIENCE_S = 240.0
"""Far beyond what anything here takes."""
FOR_HEADS = {**QUICK_CHECKS, "RAY_JOB_STOP_WAIT_TIME_S": "60"}
TOKEN = {"RAY_AUTH_MODE": "token"}
"""A head that finds a token in its home locks itself by itself; Ray's other commands use it only when told so."""
STUDY = """
study: s
objective: {metric: val/miou, mode: max}
data: {name: shapes}
model: {arch: fpn, encoder: resnet18, encoder_weights: null}
train: {epochs: 5, batch_size: 20}
suppression: {p_max: {uniform: [0.0, 1.0]}}
search: {sampler: random, trials: 6, references: []}
resources: {cpu: 1, retries: 3, retry_backoff_s: 0.1}
tracking: {enabled: false}
"""


def wait_until(true: Callable[[], bool], what: Callable[[], str]) -> float:
    """Wait for something; returns the time at which it was seen, in seconds since 1970."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)
    return time.time()


@dataclass
class Launch:
    """A command that runs a study on a host."""

    host: Host
    storage: Path
    number: int
    command: Sequence[str]
    environment: dict[str, str]

    def __post_init__(self) -> None:
        self.process = self.host.popen(self.command, self._log, folder=self.storage, environment=self.environment)

    @property
    def _log(self) -> Path:
        return self.storage / f"log-{self.number}.txt"

    @property
    def output(self) -> str:
        return self._log.read_text()

    @property
    def notes(self) -> list[Note]:
        return notes_in(Path(self.environment[NOTES]))

    @property
    def records(self) -> list[Record]:
        return Store(str(self.storage), "s").records()

    def wait(self) -> int:
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """SIGKILL the command, and nothing of Ray's."""
        pid_of(self.process).kill()
        self.process.wait()

    def wait_for(self, note: Callable[[Note], bool], count: int = 1) -> Note:
        """Wait until ``count`` epochs are noted of which something is true; returns the last of these."""

        def noted() -> list[Note]:
            return [each for each in self.notes if note(each)]

        wait_until(lambda: len(noted()) >= count or self.process.poll() is not None, lambda: self.output)
        assert len(noted()) >= count, f"ended with {self.process.returncode}\n{self.output}\n{self.notes}"
        return noted()[count - 1]


@dataclass
class Studies:
    """Hosts, which of them are nodes of Ray's cluster, and the studies that run there."""

    hosts: dict[str, Host]
    folder: Path
    nodes: list[str] = field(default_factory=list)
    """Hosts in the cluster; the first is its head."""
    launches: int = 0

    def hold(self, *names: str) -> None:
        """Make these the cluster, the first its head; all other hosts are dead then."""
        if self.nodes[:1] != list(names[:1]) or not self.hosts[names[0]].runs("raylet"):
            self.clear()
        for name in self.hosts.keys() - set(names):
            self.kill(name)
        if not self.nodes:
            self.join(names[0])
        self.join(*(name for name in names if name not in self.nodes or not self.hosts[name].runs("raylet")))

    def clear(self) -> None:
        """Kill all hosts."""
        for name in self.hosts:
            self.kill(name)

    def kill(self, name: str) -> None:
        self.hosts[name].kill()
        self.nodes = [node for node in self.nodes if node != name]

    def join(self, *names: str, options: Sequence[str] = ()) -> float:
        """Start hosts anew, and Ray there; returns when it was ready, in seconds since 1970."""
        head = self.hosts[self.nodes[0]] if self.nodes else None
        environment = {**self.environment, **(TOKEN if head else FOR_HEADS)}
        for name in names:  # not in the threads: a host dies with the thread that started it
            self.hosts[name].kill()
            self.hosts[name].mend()
            self.hosts[name].start()
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda name: self.hosts[name].start_ray(head, environment, *options), names))
        self.nodes += [name for name in names if name not in self.nodes]
        return time.time()

    @property
    def environment(self) -> dict[str, str]:
        """Of everything that runs a study."""
        return {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # of ray
            "PYTHONPATH": os.pathsep.join(map(str, PATHS)),
            "OMP_NUM_THREADS": "1",
            NOTES: str(self.folder / "notes.txt"),
        }

    def storage(self, name: str) -> Path:
        """The folder of a study; the notes of the one before are gone: trials of one have the seeds of the other's."""
        storage = self.folder / name
        if not storage.exists():
            storage.mkdir()
            (storage / "s.yaml").write_text(STUDY)
            (self.folder / "notes.txt").unlink(missing_ok=True)
        return storage

    def command(self, name: str, *options: str) -> list[str]:
        """The command of a study."""
        storage = self.storage(name)
        sweep = str(ROOT / "tests/cluster/fake_sweep.py")
        return [sys.executable, sweep, str(storage / "s.yaml"), "--storage", str(storage), *options]

    def give(self, where: str, name: str, *options: str) -> Launch:
        """Give the command of a study on a host, with the address of the cluster."""
        address = f"{self.hosts[self.nodes[0]].address}:{PORT}"
        return self.start(where, name, self.command(name, "--address", address, *options))

    def start(
        self, where: str, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> Launch:
        """Start a command that runs a study."""
        self.launches += 1
        together = {**self.environment, **(environment or {})}
        return Launch(self.hosts[where], self.folder / name, self.launches, command, together)
