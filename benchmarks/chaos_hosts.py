"""The ground of a chaos run over several hosts: they die, are cut off and come back, and so does the head."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import ClassVar

from chaos_ground import Ground
from chaos_trace import TRACE
from hosts import MISSED_SECONDS, PORT, QUICK_CHECKS, Host, hosts, pid_of

TRACKING_PORT = 5000
SERVER = "tracker"
"""The host of the tracking server."""
OVER_SECONDS = 150.0
"""Within which a command must end whose Ray is gone."""
SETTLE_SECONDS = 6.0
"""Within which Ray's node ends itself on a host that was missed and is back."""


@dataclass
class SeveralHosts(Ground):
    """A cluster over hosts, of one CPU each, and a host for the tracking server."""

    kinds: ClassVar[tuple[str, ...]] = ("host", "head", "cut and mended", "cut for good", "tracking cut off")
    study_seconds: ClassVar[float] = 2400.0
    database: Path = Path()
    server: Host | None = None
    hosts: dict[str, Host] = field(default_factory=dict)
    head: str = ""
    where: str = ""
    """The host of the latest command."""
    chance: Random = field(default_factory=Random)

    @property
    def kept_runs(self) -> str:
        """The server's own database: this process is on no host."""
        return f"sqlite:///{self.database}"

    @property
    def others(self) -> list[str]:
        """Hosts but for the head."""
        return [name for name in self.hosts if name != self.head]

    def found(self, head: str) -> None:
        """Switch all hosts off and on again, and form a new cluster."""
        self.head, self.address = head, f"{self.hosts[head].address}:{PORT}"
        for name in self.hosts:
            self._switch_on(name)
        self.hosts[head].start_ray(environment=QUICK_CHECKS)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda name: self.hosts[name].start_ray(self.hosts[head]), self.others))

    def join(self, name: str) -> None:
        """Switch a host off and on again; it joins the cluster."""
        self._switch_on(name)
        self.hosts[name].start_ray(self.hosts[self.head])

    def _switch_on(self, name: str) -> None:
        host = self.hosts[name]
        host.kill()
        host.mend()
        host.start()

    def give(self, command: Sequence[str], log: Path) -> "subprocess.Popen[str]":
        """Start a command on any host; a host that a busy machine made the head miss joins again before."""
        for name in self.others:
            if not self.hosts[name].runs("raylet"):
                self.join(name)
        self.where = self.chance.choice(list(self.hosts))
        return self.hosts[self.where].popen(command, log)

    def kill_command(self, process: "subprocess.Popen[str]") -> None:
        """SIGKILL the command itself; what was started here only waits for it."""
        pid_of(process).kill()
        process.wait()

    def kill_trial(self, host: str, pid: int) -> None:
        """SIGKILL the process of a trial, which has its number on its own host only."""
        mine = f"grep -qz '^{TRACE}=' /proc/{pid}/environ && kill -KILL {pid} || true"
        self.hosts[host].run(["bash", "-c", mine])

    def strike(self, kind: str, command: "subprocess.Popen[str]") -> None:
        """Kill a host or cut its cable, and bring it back after a while."""
        name = self.chance.choice(self.others)
        match kind:
            case "head":
                self._lose_head(command)
            case "host":
                self.hosts[name].kill()
                time.sleep(self.chance.uniform(0, 4))
                self.join(name)
            case "cut for good":
                self.hosts[name].cut()
                time.sleep(self.chance.uniform(1, 1.5 * MISSED_SECONDS))
                self.join(name)
            case "cut and mended":
                self._cut_and_mend(name, command)
            case _:
                assert self.server is not None
                self.server.cut()
                time.sleep(self.chance.uniform(1, 15))
                self.server.mend()

    def _lose_head(self, command: "subprocess.Popen[str]") -> None:
        """Ray does not survive its head: the command must end, and goes on in another cluster."""
        if self.chance.random() < 0.5:
            self.hosts[self.head].cut()  # silence, and no refusal
        self.hosts[self.head].kill()
        self._await_end(command, "its head was killed")
        self.found(self.chance.choice(self.others))

    def _cut_and_mend(self, name: str, command: "subprocess.Popen[str]") -> None:
        """A short cut is forgotten; after a longer one Ray's node ends itself, and the host is started anew."""
        host = self.hosts[name]
        host.cut()
        time.sleep(self.chance.uniform(0.5, 1.5 * MISSED_SECONDS))
        host.mend()
        time.sleep(SETTLE_SECONDS)
        if not host.runs("raylet"):
            if self.where == name:
                self._await_end(command, f"Ray ended on {name}")
            self.join(name)

    def _await_end(self, command: "subprocess.Popen[str]", why: str) -> None:
        with suppress(subprocess.TimeoutExpired):
            command.wait(OVER_SECONDS)
            return
        self.remarks.append(f"{why}, and the command on {self.where} still ran {OVER_SECONDS:g} s later")
        self.kill_command(command)


@contextmanager
def several_hosts(folder: Path, count: int, chance: Random) -> Iterator[SeveralHosts]:
    """Hosts in namespaces of their own, a cluster over them, and one more with a tracking server."""
    names = [f"host{number}" for number in range(1, count + 1)]
    with hosts(folder / "hosts", [*names, SERVER], HOME=str(folder)) as members:
        server = members.pop(SERVER)
        server.start()
        database = folder / "server.db"
        _serve(server, database)
        place = SeveralHosts(
            f"http://{server.address}:{TRACKING_PORT}",
            database=database,
            server=server,
            hosts=members,
            chance=chance,
        )
        place.found(names[0])
        yield place


def _serve(host: Host, database: Path) -> None:
    """Start a tracking server and wait for it."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", host.address, "--port", str(TRACKING_PORT)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{database}"]
    command += ["--artifacts-destination", str(database.parent / "artifacts")]
    host.popen(command, database.with_suffix(".txt"))
    asks = f"until (exec 3<>/dev/tcp/{host.address}/{TRACKING_PORT}) 2> /dev/null; do sleep 0.3; done"
    host.run(["bash", "-c", asks])
