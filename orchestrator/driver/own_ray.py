"""How a Ray of our own starts: with the processes that a launch needs, and with workers that are loaded in good time.

Ray has no options for this, so some of its functions are replaced for a while, by names of ray 2.60. Where another
version lacks one, that one is left alone: Ray then starts more than is needed.
"""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import ray._private.utils
from ray._private.node import Node

from orchestrator.driver.capacity import Demand, allocated_cpus, at_a_time
from orchestrator.studyfile import ResourcesSection

_UNASKED = ("start_api_server", "start_log_monitor", "start_monitor")
"""What serves pages, sends the workers' output to the driver, and adds nodes: 2 s of processor time, 1 s at the end."""
_UNCOLLECTED, _WORKER = "orchestrator.worker.without_collector", "orchestrator.worker.ray_trial"


def preloaded(resources: ResourcesSection, fit: str, trials: int) -> list[str]:
    """The modules that Ray's first workers are to load before they are asked, none where not all would get a trial.

    Ray starts one for every processor. None either where trials have a GPU: what a worker sees of it is settled later.
    Workers that modules travel to have an environment of their own, and Ray does not give them out.

    Args:
        resources: What each trial occupies.
        fit: ``module:function`` that runs a trial.
        trials: As many are left.
    """
    cpus = allocated_cpus()
    slots = min(at_a_time([{"CPU": cpus}], Demand.of(resources)), resources.max_concurrent or math.inf, trials)
    return [_UNCOLLECTED, _WORKER, fit.partition(":")[0]] if resources.gpu == 0 and slots >= cpus else []


@contextmanager
def as_needed(modules: Sequence[str]) -> Iterator[None]:
    """Let ``ray.init`` start no process that nobody asks, and workers that load these modules at once, if any."""
    wanted = {"RAY_prestart_worker_first_driver": "0"}
    if modules:  # and no worker is ended as idle when the trials' placement groups take the last processor
        wanted = {"RAY_preload_python_modules": ",".join(modules), "RAY_num_workers_soft_limit": str(allocated_cpus())}
    before = {name: os.environ.get(name) for name in wanted}
    with ExitStack() as stack:
        for name in _UNASKED:
            stack.enter_context(_replaced(Node, name, lambda *_, **__: None))
        # its agent then serves no pages either, and the driver need not import what they take
        stack.enter_context(_replaced(ray._private.utils, "get_dashboard_dependency_error", _no_pages))
        os.environ.update(wanted)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                os.environ.update({} if value is None else {name: value})


@contextmanager
def plain_actors() -> Iterator[None]:
    """Let Tune's actors have the environment of our own Ray: else they do not take its first workers."""
    from ray.tune.execution import class_cache  # late: it takes a second to import

    with _replaced(class_cache, "DEFAULT_ENV_VARS", {}), _replaced(class_cache, "ENV_VARS_TO_PROPAGATE", frozenset()):
        yield


@contextmanager
def _replaced(owner: object, name: str, value: object) -> Iterator[None]:
    if not hasattr(owner, name):
        yield
        return
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _no_pages() -> ImportError:
    return ImportError("a launch serves no dashboard")
