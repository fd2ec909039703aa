"""Watches the cluster while a launch runs on it: the nodes it has now, and whether Ray itself is still there.

A thread of its own asks the head's GCS every second, with a client of its own and a time limit: the main thread would
wait in C++ for a Ray that is gone, and be ended by it after a minute with everything it holds.
"""

import gc
import math
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any, Self

import psutil
import ray
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # as ray.init itself, ray 2.60
from ray.core.generated.gcs_pb2 import GcsNodeInfo, NodeSnapshot  # type: ignore[attr-defined]
from ray.exceptions import RayError

from orchestrator.driver.autoscaler import ANSWER_S, Autoscaler, is_infeasible
from orchestrator.driver.capacity import Demand, at_a_time, has_room
from orchestrator.studyfile import ResourcesSection

LOOK_S = 1.0
"""Between two looks."""
REFUSED_S = 6.0
"""How long nobody may listen at the head's address before Ray counts as gone."""
SILENT_S = 35.0
"""How long nobody may answer before Ray counts as gone; a link may mend, but after 60 s C++ ends the process."""
REASON_CHARS = 120
"""As much is shown of why Ray thinks a node is lost."""


@dataclass(frozen=True)
class Node:
    """A node as the cluster knows it."""

    name: str
    resources: Mapping[str, float]
    alive: bool
    draining: bool
    """Whether it is about to leave, as after a warning that a spot machine is taken back."""
    left: bool
    """Whether it ended by itself, as idle nodes of an autoscaler do; else it was lost."""
    reason: str
    """Why it is no more."""

    @classmethod
    def of(cls, info: GcsNodeInfo) -> Self:
        """The node of a message."""
        return cls(
            f"{info.node_manager_hostname} ({info.node_manager_address})",
            dict(info.resources_total),
            info.state == GcsNodeInfo.ALIVE,
            info.state_snapshot.state == NodeSnapshot.DRAINING,
            info.death_info.reason in (info.death_info.EXPECTED_TERMINATION, info.death_info.AUTOSCALER_DRAIN_IDLE),
            " ".join(info.death_info.reason_message.split()),
        )


class ClusterWatch(AbstractContextManager["ClusterWatch"]):
    """The cluster that this process is connected to.

    Args:
        resources: What each trial occupies.
        own: Whether it is a Ray of our own on this machine, which never grows.
        say: Tells the user what became of nodes; called in another thread.
        gone: Told once, in another thread, that Ray is no more, and how that shows.

    Raises:
        RayError: the cluster does not answer.
    """

    def __init__(
        self,
        resources: ResourcesSection,
        say: Callable[[str], None],
        gone: Callable[[str], object],
        *,
        own: bool,
    ) -> None:
        self.is_own = own
        self._resources, self._say, self._told_gone = resources, say, gone
        context = ray.get_runtime_context()
        self._address, self._here = context.gcs_address, bytes.fromhex(context.get_node_id())
        self._processes = _own_processes()
        self._client = GcsClient(address=self._address)
        self._over = threading.Event()
        self._known: dict[bytes, Node] = {}
        self.gone: str | None = None
        """How it shows that Ray is no more; None while it lives."""
        self._look()
        self._autoscaler = None if own else Autoscaler.of(self._client)
        self._thread = threading.Thread(target=self._watch, name="cluster", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """End the thread before Ray is left; look once more whether there is a Ray to leave."""
        self._over.set()
        self._thread.join(2 * ANSWER_S)
        if self.gone is None and (problem := self._ended_process()) is not None:
            self._note_gone(problem)
        del self._client

    @property
    def nodes(self) -> list[Mapping[str, float]]:
        """What each node has that may take a new trial, as of the last look."""
        return [node.resources for node in self._known.values() if node.alive and not node.draining]

    @property
    def slots(self) -> int:
        """Trials that the cluster can run at a time now."""
        fitting = at_a_time(self.nodes, Demand.of(self._resources))
        return min(fitting, self._resources.max_concurrent or fitting)

    def has_room(self, live: Sequence[Demand], another: Demand) -> bool:
        """Whether another trial can run beside those that live."""
        return len(live) < (self._resources.max_concurrent or math.inf) and has_room(self.nodes, live, another)

    def may_grow_for(self, demand: Demand) -> bool:
        """Whether the cluster's autoscaler may have nodes to add that hold such a trial."""
        return self._autoscaler is not None and self._autoscaler.may_add_for(demand)

    @property
    def node_types(self) -> list[Mapping[str, float]]:
        """What nodes have that the autoscaler may add; empty where there is none, or where it does not say."""
        return [] if self._autoscaler is None else list(self._autoscaler.node_types)

    def is_infeasible(self, demand: Demand) -> bool:
        """Whether the autoscaler says that it cannot help a trial that waits."""
        return self._autoscaler is not None and is_infeasible(self._client, demand)

    def _watch(self) -> None:
        answered = time.monotonic()
        while not self._over.wait(LOOK_S):
            problem = self._ended_process()
            try:
                self._tell(self._look())
                problem = problem or self._left_behind()
                answered = time.monotonic()
            except RayError:
                silence = time.monotonic() - answered
                if silence > (REFUSED_S if self._refuses() else SILENT_S):
                    problem = problem or f"its head at {self._address} has not answered for {silence:.0f} s"
            if problem and not self._over.is_set():
                self._note_gone(problem)
                self._told_gone(f"Ray is gone: {problem}")
                return

    def _note_gone(self, problem: str) -> None:
        """Keep that Ray is no more, and Tune's handles from the collector: freed, they would wait for it in C++."""
        gc.freeze()
        self.gone = problem

    def _look(self) -> list[str]:
        """Take the cluster's state; returns what became of nodes since the last look.

        Raises:
            RayError: it does not answer.
        """
        messages = self._client.get_all_node_info(timeout=ANSWER_S)
        before, self._known = self._known, {key.binary(): Node.of(message) for key, message in messages.items()}
        changes = (_change(before.get(key), node) for key, node in self._known.items())
        return [change for change in changes if change]

    def _tell(self, changes: Sequence[str]) -> None:
        nodes, slots = len(self.nodes), self.slots
        now = f"{nodes} node{'s' * (nodes != 1)} now, {slots} trial{'s' * (slots != 1)} at a time"
        for change in changes:
            self._say(f"{change}; {now}")

    def _refuses(self) -> bool:
        """Whether nobody listens at the head's address any more."""
        host, _, port = self._address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return False

    def _left_behind(self) -> str | None:
        """Whether the cluster has given this machine up: its workers die one after the other, trials with them."""
        here = self._known.get(self._here)
        return None if here is None or here.alive else f"it counts this machine, {here.name}, as lost"

    def _ended_process(self) -> str | None:
        """Which of Ray's processes on this machine has ended without which a driver cannot go on."""
        for process in self._processes:
            with suppress(psutil.Error):
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    continue
            return f"a process of its on this machine, {process.pid}, has ended"
        return None


def _change(before: Node | None, now: Node) -> str | None:
    """What became of a node, in words."""
    if before is None:
        return f"node {now.name} joined" if now.alive else None
    if before.alive and not now.alive:
        reason = f" ({now.reason[:REASON_CHARS].rstrip('.')})" if now.reason else ""
        return f"node {now.name} {'left' if now.left else 'is lost'}{reason}"
    if now.alive and now.draining and not before.draining:
        return f"node {now.name} is about to leave and gets no new trial"
    return None


def _own_processes() -> list[psutil.Process]:
    """The raylet to which this process is connected, and the head's GCS where this process started it."""
    node: Any = ray._private.worker._global_node  # no public name, ray 2.60
    pids = [started.process.pid for started in node.all_processes.get("gcs_server", [])]
    wanted = f"--raylet_socket_name={node.raylet_socket_name}"
    processes = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid in pids or wanted in process.cmdline():
                processes.append(process)
    return processes
