"""What only a cluster can get wrong: nodes of other versions, or that do not see the storage."""

import os
import platform
import time
from collections.abc import Callable, Mapping
from typing import TypeAlias

import ray
from ray.exceptions import RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.driver.capacity import Demand, largest, trials_at_a_time
from orchestrator.driver.cluster_watch import ClusterWatch
from orchestrator.errors import InputError, TryAgain, one_line
from orchestrator.store import layout
from orchestrator.store.records import Store
from orchestrator.studyfile import ResourcesSection
from orchestrator.worker.versions import difference, versions

POLL_S = 0.5
"""How often a launch that waits for a node looks whether there is one."""
SURE_S = 10.0
"""How long an autoscaler has to say that it cannot help: before it has looked around, it says so too."""
PROBE_SECONDS = 120
"""How long a node may take to answer: it may have to start a worker first."""


Answer: TypeAlias = tuple[str, Mapping[str, str], str | None]
"""A node's name, its versions, and why it cannot use the storage."""


def check_nodes(store: Store, *, storage: str, tracking_uri: str | None) -> None:
    """Refuse what would fail later, or fail on some nodes only; with one node and no job there is nothing to check.

    Args:
        store: The study's directory.
        storage: As the user gave it.
        tracking_uri: Where MLflow's runs go; None where nothing is tracked.

    Raises:
        InputError: Paths that mean something else on another machine, other versions on a node, a node that cannot
            write to the storage.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    in_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ  # set by ``ray job submit``: this process runs on the head
    if len(nodes) < 2 and not in_job:
        return
    why = f"the cluster has {len(nodes)} nodes" if len(nodes) > 1 else "this is a Ray job, whose folder goes with it"
    _check_addresses(storage, tracking_uri, why)
    strategies = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
    answers = [_probe.options(scheduling_strategy=each).remote(store.storage, store.study) for each in strategies]
    for node, answer in zip(nodes, answers, strict=True):
        try:
            _check(node["NodeManagerAddress"], ray.get(answer, timeout=PROBE_SECONDS))
        except RayError as error:
            if _is_alive(node["NodeID"]):
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                raise InputError(f"--address: node {node['NodeManagerAddress']} does not answer: {reason}") from error


def wait_for_a_node(watch: ClusterWatch, resources: ResourcesSection, say: Callable[[str], None]) -> None:
    """Wait until the cluster has a node that holds a trial; its autoscaler sees the demand.

    Raises:
        InputError: no node of this machine, and none that the cluster's autoscaler may add, can hold one.
        TryAgain: none came within ``resources.wait_for_nodes_s``.
    """
    demand, waits_s = Demand.of(resources), resources.wait_for_nodes_s
    if watch.slots > 0:
        return
    if watch.is_own or (watch.node_types and not watch.may_grow_for(demand)):
        trials_at_a_time([*watch.nodes, *watch.node_types], resources)  # refuses
    unmet = f"resources: {resources.asked}: no node of the cluster can hold a trial yet, {largest(watch.nodes)}"
    say(f"{unmet}; waiting up to {waits_s:g} s for one (resources.wait_for_nodes_s)")
    bundle = {"CPU": demand.cpu, "GPU": demand.gpu}
    wanted = placement_group([{name: amount for name, amount in bundle.items() if amount}])
    try:
        began = possible = time.monotonic()
        while watch.slots == 0:
            time.sleep(POLL_S)
            now = time.monotonic()
            if not watch.is_infeasible(demand):
                possible = now
            if now - possible > SURE_S:
                raise InputError(
                    f"resources: {resources.asked}: the cluster's autoscaler has no node type that can meet this"
                )
            if now - began > waits_s:
                raise TryAgain(f"{unmet}, and none came within {waits_s:g} s; try again later")
    finally:
        remove_placement_group(wanted)


def _check_addresses(storage: str, tracking_uri: str | None, why: str) -> None:
    """Refuse paths that mean something else on another machine."""
    if "://" not in storage and not os.path.isabs(storage):
        raise InputError(
            f"--storage {storage}: {why}, and a relative path is another place on each; give a path that all nodes "
            "share, or an address such as s3://bucket/studies"
        )
    if tracking_uri is not None and tracking_uri.startswith("sqlite"):
        raise InputError(
            f"tracking.uri {tracking_uri}: {why}, and this database is a file of one machine; give the address of an "
            "MLflow server (MLFLOW_TRACKING_URI), or --set tracking.enabled=false"
        )


def _is_alive(node_id: str) -> bool:
    return any(node["NodeID"] == node_id and node["Alive"] for node in ray.nodes())  # type: ignore[no-untyped-call]


@ray.remote(num_cpus=0)
def _probe(storage: str, study: str) -> Answer:
    """A node's versions, and whether it can write to the storage and read what it wrote."""
    problem = None
    try:
        store, name = Store(storage, study), layout.probe(ray.get_runtime_context().get_node_id())
        store.write_text(name, "probe")
        if store.objects.read(name) != b"probe":
            problem = "reads something else than it wrote"
        store.objects.delete(name)
    except OSError as error:
        problem = one_line(error)
    return platform.node(), versions(), problem


def _check(address: str, answer: Answer) -> None:
    host, theirs, problem = answer
    where = f"node {host} ({address})"
    if other := difference(theirs, versions()):
        raise InputError(f"{where} has {other}")
    if problem:
        raise InputError(f"--storage: {where} cannot use it: {problem}")
