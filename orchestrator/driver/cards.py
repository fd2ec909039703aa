"""The memory of the GPUs that each node of a cluster has, asked of the nodes themselves."""

import os
from collections.abc import Mapping, Sequence

import pynvml
import ray
from ray.exceptions import RayError

from orchestrator.driver.capacity import ON_NODE
from orchestrator.driver.packing import Card
from orchestrator.worker.machine_meter import visible_gpus

ANSWER_S = 30.0
"""How long a node may take to answer: it may have to start a worker first."""
NODE = "node:"
"""Ray's resource that only one node has begins so."""
HEAD = "node:__internal_head__"


class Cards:
    """Asks each node once; one that joins later is asked when it is first seen."""

    def __init__(self) -> None:
        self._totals: dict[str, int | None] = {}

    def of(self, nodes: Sequence[Mapping[str, float]]) -> list[Card]:
        """The cards of nodes; a single one for all where they are alike, none where a node does not tell."""
        names = [name for node in nodes if node.get("GPU") and (name := own_resource(node)) is not None]
        new = [name for name in names if name not in self._totals]
        if new:
            self._totals |= dict(zip(new, ask(new), strict=True))
        cards = [Card(name, total) for name in names if (total := self._totals[name]) is not None]
        if len(cards) < len(names) or not cards:
            return []
        return cards if len({card.total for card in cards}) > 1 else [Card(None, cards[0].total)]


def own_resource(node: Mapping[str, float]) -> str | None:
    """The resource that only this node has, by its address."""
    return next((name for name in node if name.startswith(NODE) and name != HEAD), None)


def ask(names: Sequence[str]) -> list[int | None]:
    """Bytes of the smallest GPU of each node; None where it does not tell."""
    asked = [_smallest.options(resources={name: ON_NODE}).remote() for name in names]
    answers: list[int | None] = []
    for each in asked:
        try:
            answers.append(ray.get(each, timeout=ANSWER_S))
        except RayError:
            answers.append(None)
    return answers


@ray.remote(num_cpus=0)
def _smallest() -> int | None:
    return smallest_gpu()


def smallest_gpu() -> int | None:
    """Bytes that programs may use of this machine's smallest GPU, or MIG slice; None where the driver does not say."""
    try:
        pynvml.nvmlInit()
        if os.environ.get("CUDA_VISIBLE_DEVICES"):
            gpus = visible_gpus()
        else:
            gpus = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return min(map(_usable_bytes, gpus), default=None)
    except pynvml.NVMLError:
        return None


def _usable_bytes(gpu: object) -> int:
    """What CUDA too counts as the GPU's memory: the driver's own part is no one's."""
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(gpu, version=pynvml.nvmlMemory_v2)
        return int(memory.total) - int(memory.reserved)
    except (pynvml.NVMLError, AttributeError):
        return int(pynvml.nvmlDeviceGetMemoryInfo(gpu).total)
