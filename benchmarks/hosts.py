"""Hosts on one machine, for what only several hosts can show: each has a network, a name, pids and mounts of its own.

A host is a process, the init of its namespaces: SIGKILL of it is the host's sudden death, with all that runs there. A
switch, in a namespace of its own too, joins them; a port of it that is taken down is a cut cable. All share the file
system, but for Ray's temporary folder. Needs root, iproute2 and util-linux; nothing reaches the machine's own network.
"""

import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

NETWORK = "10.77.0"
"""Its addresses exist in the namespaces alone."""
PORT = 6379
START_SECONDS = 120.0
QUICK_CHECKS = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
}
"""For the head: it misses a node within seconds, not after a minute; shorter still, and a busy machine loses nodes."""
MISSED_SECONDS = 14.0
"""Within which it does."""
PROGRAMS = ("ip", "nsenter", "unshare", "setpriv", "mount")
# ip netns exec would mount another /sys, in which SLURM's and others' control groups are missing: nsenter does not.
_BOOT = """
hostname "$1"; mount --bind "$2" "$3"; mount --bind "$4" /etc/hosts; echo up; exec > /dev/null; shift 4; exec "$@"
"""
_INIT = ("bash", "-c", "while :; do sleep 3600 & wait $!; done")
"""Reaps what its host's processes leave behind, where there is no tini."""
_numbers = itertools.count()


def obstacle() -> str | None:
    """Why this machine cannot hold hosts; None where it can."""
    if os.geteuid() != 0:
        return "hosts in network namespaces need root"
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        return f"hosts in network namespaces need {', '.join(missing)} (iproute2, util-linux)"
    refused = subprocess.run(["unshare", "-m", "-u", "-n", "-p", "-f", "true"], capture_output=True, text=True)
    return f"no namespaces here: {refused.stderr.strip()}" if refused.returncode else None


@dataclass
class Host:
    """A host; it is off until `start`."""

    name: str
    address: str
    folder: Path
    """Of all hosts."""
    network: str
    """Name of its network namespace."""
    switch: str
    environment: Mapping[str, str]
    """Of every process there, beyond this process's own."""
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    """Started there from outside."""
    _outer: subprocess.Popen[str] | None = None
    _init: psutil.Process | None = None

    @property
    def alive(self) -> bool:
        """Whether it is on."""
        return self._init is not None

    def runs(self, program: str) -> bool:
        """Whether a program of this name runs there."""
        names = []
        for process in self._init.children(recursive=True) if self._init else ():
            with suppress(psutil.NoSuchProcess):
                names.append(process.name())
        return program in names

    def start(self, hostname: str | None = None) -> None:
        """Switch it on, or on again; it dies with the thread that does. Its network was there all the time."""
        assert self._outer is None, f"{self.name} is on"
        own = self.folder / self.name
        shutil.rmtree(own, ignore_errors=True)  # a machine that starts has no sockets of its last life
        own.mkdir()
        init = ("tini", "--", "sleep", "infinity") if shutil.which("tini") else _INIT
        command = ["setpriv", "--pdeathsig", "KILL"]  # not even a SIGKILL here leaves a host behind
        command += ["nsenter", f"--net=/run/netns/{self.network}", "unshare", "-m", "-u", "-p", "-f", "--kill-child"]
        command += ["--mount-proc", "bash", "-ec", _BOOT, "bash", hostname or self.name, str(own), str(_ray_folder())]
        command += [str(self.folder / "hosts"), *init]
        # of a group of its own: Ctrl-C is for whoever holds the hosts
        with open(own / "start.txt", "w") as log:
            self._outer = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
        assert self._outer.stdout is not None
        assert self._outer.stdout.readline() == "up\n", (own / "start.txt").read_text()
        self._init = psutil.Process(self._outer.pid).children()[0]

    def kill(self) -> None:
        """SIGKILL everything there at once; the switch and the network stay."""
        if self._outer is None:
            return
        assert self._init is not None
        with suppress(psutil.NoSuchProcess):
            self._init.kill()
        self._outer.wait()  # for the namespace's init, and so for all its processes
        assert self._outer.stdout is not None
        self._outer.stdout.close()
        for process in self.processes:
            process.wait()
        self._outer, self._init, self.processes = None, None, []

    def cut(self) -> None:
        """Take its cable out: nothing arrives, nobody is told."""
        _ip("-n", self.switch, "link", "set", "dev", self.name, "down")

    def mend(self) -> None:
        """Put its cable in again."""
        _ip("-n", self.switch, "link", "set", "dev", self.name, "up")

    def popen(
        self,
        command: Sequence[str],
        log: Path,
        *,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a command there, its output appended to ``log``; see `pid_of` for the process itself."""
        assert self._init is not None, f"{self.name} is off"
        inside = ["nsenter", "-t", str(self._init.pid), "-n", "-u", "-p", "-m", "env", "-C", str(folder or self.folder)]
        with open(log, "a") as output:
            process = subprocess.Popen(
                [*inside, *command],
                env={**os.environ, **self.environment, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                text=True,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float = START_SECONDS,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command there to its end; returns its output, and fails as it fails."""
        with tempfile.NamedTemporaryFile("r", dir=self.folder) as output:
            process = self.popen(command, Path(output.name), environment=environment)
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                pid_of(process).kill()
                code = process.wait()
            text = output.read()
        assert code == 0, f"{' '.join(command)} on {self.name}: exit code {code}\n{text}"
        return text

    def start_ray(
        self, head: "Host | None" = None, environment: Mapping[str, str] | None = None, *options: str
    ) -> None:
        """Start a Ray node there, of one CPU: the head of a cluster, or one that joins the cluster of ``head``."""
        where = f"--address={head.address}:{PORT}" if head else f"--head --port={PORT} --include-dashboard=false"
        command = [str(Path(sys.executable).with_name("ray")), "start", *where.split()]
        command += [f"--node-ip-address={self.address}", "--num-cpus=1", "--object-store-memory=100000000"]
        self.run([*command, "--disable-usage-stats", *options], environment=environment)


def pid_of(process: subprocess.Popen[str]) -> psutil.Process:
    """What runs on the host: the process that was started here only waits for it."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with suppress(psutil.NoSuchProcess):
            if children := psutil.Process(process.pid).children():
                return children[0]
        assert process.poll() is None, f"ended before: exit code {process.returncode}"
        time.sleep(0.01)
    raise AssertionError("nothing runs there")


@contextmanager
def hosts(folder: Path, names: Sequence[str], **environment: str) -> Iterator[dict[str, Host]]:
    """Hosts by name, off until they are started; in the end nothing of them is left."""
    prefix = f"hosts-{os.getpid()}-{next(_numbers)}"
    switch = f"{prefix}-switch"
    folder.mkdir(exist_ok=True)
    members = {
        name: Host(name, f"{NETWORK}.{number}", folder, f"{prefix}-{name}", switch, environment)
        for number, name in enumerate(names, start=1)
    }
    lines = ["127.0.0.1 localhost", *(f"{host.address} {name}" for name, host in members.items())]
    (folder / "hosts").write_text("\n".join(lines) + "\n")
    _remove_networks_of_the_dead()
    try:
        _lay_cables(switch, list(members.values()))
        yield dict(members)
    finally:
        for host in members.values():
            host.kill()
        for network in (*(host.network for host in members.values()), switch):
            if f"{network}\n" in _ip("netns", "list").replace(" ", "\n"):
                left = _ip("netns", "pids", network).split()
                _ip("netns", "delete", network)
                assert not left, f"processes are left in {network}: {left}"
        assert prefix not in _ip("netns", "list")


def _remove_networks_of_the_dead() -> None:
    """Hosts die with the process that holds them, whatever ends it; the names of their networks do not."""
    for line in _ip("netns", "list").splitlines():
        name = line.split()[0]
        if (holder := re.fullmatch(r"hosts-(\d+)-\d+-.+", name)) and not psutil.pid_exists(int(holder[1])):
            _ip("netns", "delete", name)


def _lay_cables(switch: str, members: Sequence[Host]) -> None:
    _ip("netns", "add", switch)
    _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
    _ip("-n", switch, "link", "set", "bridge", "up")
    for host in members:
        network = host.network
        _ip("netns", "add", network)
        _ip("link", "add", "name", host.name, "netns", switch, "type", "veth", "peer", "name", "eth0", "netns", network)
        _ip("-n", switch, "link", "set", "dev", host.name, "master", "bridge", "up")
        _ip("-n", network, "link", "set", "lo", "up")
        _ip("-n", network, "address", "add", f"{host.address}/24", "dev", "eth0")
        _ip("-n", network, "link", "set", "eth0", "up")


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr.strip()}"
    return done.stdout


def _ray_folder() -> Path:
    """Ray's temporary folder: each host sees one of its own there, under a name short enough for sockets."""
    folder = Path("/tmp/ray")
    folder.mkdir(exist_ok=True)
    return folder
