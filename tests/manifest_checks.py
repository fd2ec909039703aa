"""What reads the files of deploy/ would refuse: their schemas, and the rules that those do not say."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
SCHEMAS = ROOT.parent / "shared/kuberay"
SKYPILOT = {  # of 0.14: what its schemas of a task and of resources allow
    "task": {"name", "num_nodes", "workdir", "resources", "envs", "secrets", "file_mounts", "setup", "run"},
    "resources": {"accelerators", "use_spot", "disk_size", "job_recovery", "cpus", "memory", "infra", "image_id"},
    "job_recovery": {"strategy", "max_restarts_on_errors", "recover_on_exit_codes"},
}

Tree = dict[str, Any]


def pinned(name: str) -> str:
    return dict(re.findall(r"(?m)^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text()))[name]


def read(path: Path) -> Tree:
    return dict(yaml.safe_load(path.read_text()))


def groups(job: Tree) -> list[Tree]:
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def containers(job: Tree) -> Iterator[Tree]:
    for group in groups(job):
        pod = group["template"]["spec"]
        yield from [*pod.get("initContainers", []), *pod["containers"]]


def check_schema(job: Tree) -> None:
    """What the API server refuses."""
    kind = {"RayJob": "ray.io_rayjobs.v1.json"}[job["kind"]]
    if not (SCHEMAS / kind).is_file():
        pytest.skip(f"no schema of KubeRay at {SCHEMAS}")
    jsonschema.validate(job, json.loads((SCHEMAS / kind).read_text()))


def check_rules(job: Tree) -> None:
    """What the operator refuses (validation.go of KubeRay), and what Kubernetes refuses in a pod."""
    spec = job["spec"]
    cluster, scaling = spec["rayClusterSpec"], spec["rayClusterSpec"].get("enableInTreeAutoscaling")
    assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", job["metadata"]["name"])
    assert len(job["metadata"]["name"]) <= 47
    assert spec.get("shutdownAfterJobFinishes") or not (spec.get("suspend") or spec.get("ttlSecondsAfterFinished"))
    assert spec.get("ttlSecondsAfterFinished", 0) >= 0
    assert spec.get("backoffLimit", 0) >= 0
    assert not spec.get("backoffLimit") or not (
        "clusterSelector" in spec or spec["submissionMode"] == "InteractiveMode"
    )
    if spec["submissionMode"] == "SidecarMode":
        assert not {"submitterPodTemplate", "submitterConfig", "clusterSelector"} & spec.keys()
        assert groups(job)[0]["template"]["spec"].get("restartPolicy", "Never") == "Never"
    if scaling and cluster.get("autoscalerOptions", {}).get("version") == "v2":
        assert all(group["template"]["spec"].get("restartPolicy", "Never") == "Never" for group in groups(job))
    for container in containers(job):
        names = [variable["name"] for variable in container.get("env", [])]
        assert len(names) == len(set(names))
        assert "RAY_enable_autoscaler_v2" not in names  # beside autoscalerOptions.version
    for group in groups(job):
        assert not ({"memory", "resources", "labels"} & group["rayStartParams"].keys())
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def check_job(job: Tree) -> None:
    """What a study needs of its pods."""
    head, *workers = groups(job)
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == pinned("ray")
    assert head["rayStartParams"].get("num-cpus") == "0"
    assert {"name": "RAY_JOB_STOP_WAIT_TIME_S", "value": "60"} in head["template"]["spec"]["containers"][0]["env"]
    for group in [head, *workers]:
        pod, container = group["template"]["spec"], group["template"]["spec"]["containers"][0]
        by_path = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert {"name": "DROPCLASS_CACHE", "value": "/cache"} in container["env"]
        assert volumes[by_path["/cache"]]["emptyDir"] == {}
        assert volumes[by_path["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
        assert pod["terminationGracePeriodSeconds"] > 60
    for script in [hook["exec"]["command"][2] for hook in hooks(workers)]:
        wait = re.fullmatch(r"ray drain-node .*--deadline-remaining-seconds=(\d+) && for second in {1..\1}; .*", script)
        check_shell(script)
        assert wait
        assert int(wait[1]) < workers[0]["template"]["spec"]["terminationGracePeriodSeconds"]


def hooks(workers: list[Tree]) -> list[Tree]:
    return [group["template"]["spec"]["containers"][0]["lifecycle"]["preStop"] for group in workers]


def check_shell(script: str) -> None:
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def check_ray_cluster(cluster: Tree) -> None:
    schema = Path(str(ray.autoscaler.__file__)).with_name("ray-schema.json")
    jsonschema.validate(cluster, json.loads(schema.read_text()))
    assert cluster["max_workers"] == len(cluster["provider"]["worker_ips"])


def check_skypilot(task: Tree) -> None:
    assert task.keys() <= SKYPILOT["task"]
    assert task["resources"].keys() <= SKYPILOT["resources"]
    assert task["resources"]["job_recovery"].keys() <= SKYPILOT["job_recovery"]
    assert task["resources"]["job_recovery"]["recover_on_exit_codes"] == [os.EX_TEMPFAIL]
    used = set(re.findall(r"\$\{?([A-Z][A-Z_]+)", task["run"]))
    own = {"SKYPILOT_NODE_IPS", "SKYPILOT_NODE_RANK", "SKYPILOT_NUM_GPUS_PER_NODE", "RAY_ADDRESS"}
    assert used <= own | task["envs"].keys()
    assert "ray stop" not in re.sub("(?m)#.*", "", task["run"])
