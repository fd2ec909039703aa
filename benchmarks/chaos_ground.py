"""Where the studies of a chaos run take place, and what can be killed there: one machine, or a cluster of two nodes."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from chaos_trace import TRACE
from mlflow_server import mlflow_server


@dataclass
class Ground:
    """A Ray of each command's own, on this machine."""

    tracking: str
    """Where launches reach MLflow."""
    kinds: ClassVar[tuple[str, ...]] = ()
    """What can be killed or disturbed beyond commands and trials."""
    study_seconds: ClassVar[float] = 900.0
    """What a study may take with all its kills."""
    address: str | None = None
    """Of the cluster."""
    remarks: list[str] = field(default_factory=list)
    """What commands did that they should not have done."""

    @property
    def kept_runs(self) -> str:
        """Where this process reads MLflow's runs."""
        return self.tracking

    def give(self, command: Sequence[str], log: Path) -> "subprocess.Popen[str]":
        """Start a command; its output is appended to ``log``."""
        with open(log, "a") as output:
            return subprocess.Popen(command, stdout=output, stderr=output, text=True)

    def kill_command(self, process: "subprocess.Popen[str]") -> None:
        """SIGKILL a command, and nothing that it started."""
        process.kill()
        process.wait()

    def kill_trial(self, host: str, pid: int) -> None:
        """SIGKILL the process of a trial, as its claim names it, if it is alive and of this run."""
        del host  # there is but one
        mark = f"{TRACE}={os.environ[TRACE]}".encode()
        with suppress(OSError):
            if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                os.kill(pid, signal.SIGKILL)

    def strike(self, kind: str, command: "subprocess.Popen[str]") -> None:  # noqa: ARG002
        """Kill or disturb one of ``kinds`` and put things in order again; the command may end over it.

        Raises:
            ValueError: there is nothing of this kind; a machine alone has none beside its commands and trials.
        """
        raise ValueError(f"{kind}: there is nothing of this kind here")


@dataclass
class TwoNodes(Ground):
    """A cluster of two nodes on this machine."""

    kinds = ("node",)
    cluster: Any = None
    node: Any = None
    """The second one."""

    def strike(self, kind: str, command: "subprocess.Popen[str]") -> None:
        """SIGKILL the second node's raylet and put another node in its place."""
        del kind, command  # there is but one kind
        self.node.all_processes["raylet"][0].process.kill()
        time.sleep(1)
        with suppress(Exception):  # parts of it are gone already
            self.cluster.remove_node(self.node, allow_graceful=False)
        self.node = self.cluster.add_node(num_cpus=1)


@contextmanager
def two_nodes(folder: Path) -> Iterator[TwoNodes]:
    """Two nodes and a tracking server on loopback."""
    from ray.cluster_utils import Cluster

    with ExitStack() as stack:
        uri = stack.enter_context(mlflow_server(folder, "--workers", "1"))
        cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        stack.callback(cluster.shutdown)
        yield TwoNodes(uri, cluster.address, cluster=cluster, node=cluster.add_node(num_cpus=1))
