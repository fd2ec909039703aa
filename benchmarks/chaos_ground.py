"""Where the studies of a chaos run take place: a cluster of two nodes with a tracking server, or neither."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_server import mlflow_server


@dataclass
class Ground:
    """Where studies run: a cluster of two nodes, or a Ray of each command's own."""

    tracking: str
    cluster: Any = None
    node: Any = None
    """The cluster's second node."""

    def kill_node(self) -> None:
        """SIGKILL the second node's raylet and put another node in its place."""
        self.node.all_processes["raylet"][0].process.kill()
        time.sleep(1)
        with suppress(Exception):  # parts of it are gone already
            self.cluster.remove_node(self.node, allow_graceful=False)
        self.node = self.cluster.add_node(num_cpus=1)


@contextmanager
def ground(folder: Path, *, local: bool) -> Iterator[Ground]:
    """Two nodes and a tracking server on loopback, or neither."""
    if local:
        yield Ground(f"sqlite:///{folder}/mlflow.db")
        return
    from ray.cluster_utils import Cluster

    with ExitStack() as stack:
        uri = stack.enter_context(mlflow_server(folder, "--workers", "1"))
        cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        stack.callback(cluster.shutdown)
        yield Ground(uri, cluster, cluster.add_node(num_cpus=1))
