"""How many trials of a study machines can run at a time. Imports no ray: a dry run asks, too."""

import os
from collections.abc import Mapping, Sequence

from orchestrator.errors import InputError
from orchestrator.studyfile import ResourcesSection


def trials_at_a_time(nodes: Sequence[Mapping[str, float]], resources: ResourcesSection) -> int:
    """Trials that nodes with so many ``CPU`` and ``GPU`` each can run at a time.

    Raises:
        InputError: No node is large enough for one trial.
    """
    fitting = sum(_fits(node, resources) for node in nodes)
    if fitting == 0:
        largest = ", ".join(f"{name.lower()}: {max(n.get(name, 0) for n in nodes):g}" for name in ("CPU", "GPU"))
        raise InputError(
            f"resources: {{cpu: {resources.cpu:g}, gpu: {resources.gpu:g}}}: no node can ever meet this; "
            f"the largest has {{{largest}}}"
        )
    return min(fitting, resources.max_concurrent or fitting)


def this_machine() -> dict[str, float]:
    """What a Ray of this machine would have."""
    import torch  # late: it takes seconds to import

    return {"CPU": os.cpu_count() or 1, "GPU": torch.cuda.device_count()}


def _fits(node: Mapping[str, float], resources: ResourcesSection) -> int:
    cpus = node.get("CPU", 0) / resources.cpu
    if resources.gpu == 0:
        return int(cpus)
    if resources.gpu < 1:  # fractions pack within one GPU, never across two
        gpus = int(node.get("GPU", 0)) * int(1 / resources.gpu)
    else:
        gpus = int(node.get("GPU", 0) / resources.gpu)
    return min(int(cpus), gpus)
