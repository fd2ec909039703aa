"""What a cluster's autoscaler says of itself, read from the head's GCS; most clusters have none."""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ray.core.generated import autoscaler_pb2
from ray.exceptions import RayError

from orchestrator.driver.capacity import Demand, at_a_time

ANSWER_S = 2.0
"""How long one answer may take."""
_V2_ENABLED = (b"__autoscaler_v2_enabled", b"__autoscaler")
_V1_STATUS = (b"__autoscaling_status", None)
_TYPES = (b"__autoscaler_cluster_config", b"__autoscaler")
_messages: Any = autoscaler_pb2  # made at run time: a type checker sees nothing of it


@dataclass(frozen=True)
class Autoscaler:
    """A cluster's autoscaler; ``node_types`` are what the nodes have that it may add, none where it does not say."""

    node_types: tuple[Mapping[str, float], ...] = ()

    @classmethod
    def of(cls, client: Any) -> "Autoscaler | None":
        """That of the cluster of a GCS client; None where it has none.

        Raises:
            RayError: the cluster does not answer.
        """
        types = _node_types(client)
        return cls(types) if types or _is_there(client) else None

    def may_add_for(self, demand: Demand) -> bool:
        """Whether it may have nodes to add that hold such a trial, as far as it says."""
        return not self.node_types or at_a_time(self.node_types, demand) > 0


def is_infeasible(client: Any, demand: Demand) -> bool:
    """Whether the autoscaler, version 2, says of a waiting trial that none of its node types can hold it."""
    try:
        reply = _messages.GetClusterStatusReply.FromString(client.get_cluster_status(timeout_s=ANSWER_S))
    except RayError:
        return False
    wanted = {name: amount for name, amount in (("CPU", demand.cpu), ("GPU", demand.gpu)) if amount}
    gangs = reply.autoscaling_state.infeasible_gang_resource_requests
    bundles = [request.resources_bundle for gang in gangs for request in gang.requests]
    return any(all(math.isclose(bundle.get(name, 0), wanted[name]) for name in wanted) for bundle in bundles)


def _is_there(client: Any) -> bool:
    if client.internal_kv_get(*_V2_ENABLED, timeout=ANSWER_S) == b"1":
        return True
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        report = json.loads(client.internal_kv_get(*_V1_STATUS, timeout=ANSWER_S))["autoscaler_report"]
        types = {*report["active_nodes"], *(report.get("node_type_mapping") or {}).values()}
        return any(not name.startswith("node_") for name in types)  # so a cluster without one names each node
    return False


def _node_types(client: Any) -> tuple[Mapping[str, float], ...]:
    kept = client.internal_kv_get(*_TYPES, timeout=ANSWER_S)
    groups = _messages.ClusterConfig.FromString(kept).node_group_configs if kept else ()
    return tuple(dict(group.resources) for group in groups if group.max_count != 0)
