"""A study on a cluster whose nodes come when trials wait; run in a network and a pid namespace of its own.

The provider is Ray's fake one: a node is a raylet on this machine. ``ray.cluster_utils.AutoscalingCluster``, which uses
it, is of no use here: it ends every Ray of the machine, and reads a file that is not in the wheel.
"""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

HEAD_ID = 51 * "f" + "00000"
"""What the provider calls the head."""
UNUSED = {
    "upscaling_speed": 1.0, "idle_timeout_minutes": 1, "head_node": {}, "worker_nodes": {}, "file_mounts": {},
    "cluster_synced_files": [], "file_mounts_sync_continuously": False, "rsync_exclude": [], "rsync_filter": [],
    "initialization_commands": [], "setup_commands": [], "head_setup_commands": [], "worker_setup_commands": [],
    "head_start_ray_commands": [], "worker_start_ray_commands": [],
}  # fmt: skip
"""What a configuration must hold, though the provider has no use for it."""
HEAD_TYPE = "ray.head.default"
"""What the provider calls its type."""
ADDRESS = "127.0.0.1:6379"


def configuration(cpus: int, most: int) -> dict[str, object]:
    """A head without CPUs, and up to so many nodes of so many CPUs."""
    provider = {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "gcs_address": ADDRESS,
        "launch_multiple": True,
        "head_node_id": HEAD_ID,
    }
    return {
        "cluster_name": "fake",
        "max_workers": most,
        "provider": provider,
        "auth": {"ssh_user": "nobody"},
        **UNUSED,
        "head_node_type": HEAD_TYPE,
        "available_node_types": {
            HEAD_TYPE: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "small": {"resources": {"CPU": cpus}, "node_config": {}, "min_workers": 0, "max_workers": most},
        },
    }


def start_head(folder: Path, cpus: int, most: int) -> None:
    """Start the head with autoscaler v2; the namespace's end is its own."""
    file = folder / "scaling.json"
    file.write_text(json.dumps(configuration(cpus, most)))
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    own = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_enable_autoscaler_v2": "1"}
    own |= {"RAY_CLOUD_INSTANCE_ID": HEAD_ID, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID}
    options = ["--head", "--num-cpus=0", "--port=6379", "--node-ip-address=127.0.0.1", "--include-dashboard=false"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, f"--autoscaling-config={file}"]
    subprocess.run(command, env={**os.environ, **own}, check=True, stdout=subprocess.DEVNULL)


def main(folder: Path) -> int:
    """Run the study of the folder; returns the exit code of its launch."""
    from orchestrator.errors import InputError
    from orchestrator.launch.one_launch import Target, launch
    from orchestrator.studyfile import load

    start_head(folder, cpus=2, most=2)
    study = load(folder / "s.yaml")
    target = Target(ADDRESS, fit="fake_fit:slow")
    try:
        return launch(study, storage=f"{folder}/studies", target=target, command="again")
    except InputError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
