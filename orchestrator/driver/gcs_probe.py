"""A script of its own: what answers at ADDRESS, asked as Ray's driver would ask, in a process that may be killed.

Ray's client retries for minutes, writes its own words to stderr and ends its process when it gives up. Prints ``ready``
once Ray is imported, then one line of JSON: the cluster's versions and whether one of its nodes runs on this machine,
or why nothing answers.
"""

import json
import socket
import sys
from urllib.parse import urlsplit

from ray._common.usage.usage_lib import get_cluster_metadata
from ray._private import services  # as ray.init itself, ray 2.60
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.exceptions import AuthenticationError, RayError

CONNECT_SECONDS = 2.0
"""How long each IP address of the host may take."""


def _ask(address: str) -> dict[str, str | bool]:
    parts = urlsplit(f"//{address}")
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=CONNECT_SECONDS).close()
        client = GcsClient(address=address)
        versions = get_cluster_metadata(client)
        nodes = {node.hex() for node in client.get_all_node_info(timeout=CONNECT_SECONDS)}
    except AuthenticationError:
        return {"locked": True}
    except (OSError, RayError) as error:
        return {"problem": str(error)}
    local = not nodes.isdisjoint(services.find_node_ids())  # type: ignore[no-untyped-call]
    return {"ray": versions["ray_version"], "python": versions["python_version"], "local": local}


if __name__ == "__main__":
    print("ready", flush=True)
    print(json.dumps(_ask(sys.argv[1])), flush=True)
