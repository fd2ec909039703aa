"""How many trials of a study machines can run at a time. Imports no ray: a dry run asks, too."""

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from orchestrator.errors import InputError
from orchestrator.studyfile import ResourcesSection

CGROUP, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
ON_NODE = 0.001
"""As much of a node's own resource, of which it has 1, is taken by a trial that must run there."""
ROUNDING = 1e-6
"""Ray counts in ten thousandths; what is smaller is our own arithmetic."""


@dataclass(frozen=True)
class Demand:
    """What a trial occupies on one node."""

    cpu: float
    gpu: float
    node: str | None = None
    """Ray's resource that only the node has on which it must run; None is any."""

    @classmethod
    def of(cls, resources: ResourcesSection) -> Self:
        """That of every trial of a study; of one whose share of a GPU is measured, the most that it may be."""
        return cls(resources.cpu, resources.most_gpus)

    @property
    def bundle(self) -> dict[str, float]:
        """What Ray is asked for."""
        asked = {"CPU": self.cpu, "GPU": self.gpu} | ({self.node: ON_NODE} if self.node else {})
        return {name: amount for name, amount in asked.items() if amount}


class _Room:
    """What is left of a node."""

    def __init__(self, node: Mapping[str, float]) -> None:
        self.node = node
        self.cpu = node.get("CPU", 0.0) + ROUNDING
        self.gpus = [1.0 + ROUNDING] * int(node.get("GPU", 0))

    def take(self, demand: Demand) -> bool:
        """Occupy it with a trial; False where it does not fit."""
        if demand.node is not None and demand.node not in self.node:
            return False
        share = min(demand.gpu, 1.0)  # fractions pack within one GPU, never across two
        whole = math.ceil(demand.gpu)
        fitting = [index for index, left in enumerate(self.gpus) if left >= share][:whole]
        if demand.cpu > self.cpu or len(fitting) < whole:
            return False
        self.cpu -= demand.cpu
        for index in fitting:
            self.gpus[index] -= share
        return True


def at_a_time(nodes: Sequence[Mapping[str, float]], demand: Demand) -> int:
    """Trials of one demand that nodes with so many ``CPU`` and ``GPU`` each can run at a time."""
    return sum(_fits(node, demand) for node in nodes)


def has_room(nodes: Sequence[Mapping[str, float]], live: Sequence[Demand], another: Demand) -> bool:
    """Whether another trial can run beside those that live, the largest placed first."""
    if all(demand is another or demand == another for demand in live):  # asked at every result of every slot
        return len(live) < at_a_time(nodes, another)
    rooms = [_Room(node) for node in nodes]
    largest_first = sorted([*live, another], key=lambda demand: (demand.gpu, demand.cpu), reverse=True)
    return all(any(room.take(demand) for room in rooms) for demand in largest_first)


def trials_at_a_time(nodes: Sequence[Mapping[str, float]], resources: ResourcesSection) -> int:
    """Trials of a study that nodes can run at a time.

    Raises:
        InputError: No node is large enough for one trial.
    """
    demand = Demand.of(resources)
    fitting = at_a_time(nodes, demand)
    if fitting == 0:
        together = "; the GPUs of a trial are of one node" if demand.gpu > 1 else ""
        raise InputError(f"resources: {resources.asked}: no node can ever meet this; {largest(nodes)}{together}")
    return min(fitting, resources.max_concurrent or fitting)


def largest(nodes: Sequence[Mapping[str, float]]) -> str:
    """What the largest node has, for messages."""
    if not nodes:
        return "there is none"
    most = ", ".join(f"{name.lower()}: {max(node.get(name, 0) for node in nodes):g}" for name in ("CPU", "GPU"))
    return f"the largest has {{{most}}}"


def this_machine() -> dict[str, float]:
    """What a Ray of this machine would have."""
    import torch  # late: it takes seconds to import

    return {"CPU": allocated_cpus(), "GPU": torch.cuda.device_count()}


def allocated_cpus() -> int:
    """CPUs that this process may use, at least 1: the fewest of SLURM's, its affinity's and its cgroup's."""
    limits: list[float] = [os.cpu_count() or 1]
    with suppress(AttributeError, OSError):  # Linux alone has affinities
        limits.append(len(os.sched_getaffinity(0)))
    slurm = os.environ.get("SLURM_CPUS_ON_NODE", "")
    if "SLURM_JOB_ID" in os.environ and slurm.isdecimal() and int(slurm) > 0:
        limits.append(int(slurm))
    limits += _quotas()
    return max(1, math.floor(min(limits) + ROUNDING))


def _fits(node: Mapping[str, float], demand: Demand) -> int:
    if demand.node is not None and demand.node not in node:
        return 0
    cpus = int(node.get("CPU", 0) / demand.cpu + ROUNDING)
    if demand.gpu == 0:
        return cpus
    per_gpu = int(1 / demand.gpu + ROUNDING) if demand.gpu < 1 else 1 / demand.gpu
    return min(cpus, int(int(node.get("GPU", 0)) * per_gpu + ROUNDING))


def _quotas() -> list[float]:
    """CPUs that the process's cgroup, and each one above it, may use at a time; empty where none says."""
    quotas = []
    for folder in _cgroup_folders():
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = (folder / "cpu.max").read_text().split()  # version 2
            quotas.append(float(quota) / float(period))
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            quotas.append(float(quota) / float(period))
    return [quota for quota in quotas if quota > 0]


def _cgroup_folders() -> list[Path]:
    folders = []
    with suppress(OSError, ValueError):
        for line in OWN_CGROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "cpu", "cpu,cpuacct"):
                base = CGROUP / controllers
                place = base / path.lstrip("/")
                folders += [place, *(parent for parent in place.parents if parent.is_relative_to(base))]
    return folders
