"""The files of deploy/ are what their readers take, and broken copies are not."""

import re
from collections.abc import Callable
from importlib.metadata import version

import jsonschema
import pytest
from manifest_checks import (
    DEPLOY,
    ROOT,
    Tree,
    check_job,
    check_ray_cluster,
    check_rules,
    check_schema,
    check_shell,
    check_skypilot,
    groups,
    pinned,
    read,
)


@pytest.mark.parametrize("name", ["rayjob.yaml", "rayjob-s3.yaml"])
@pytest.mark.parametrize("check", [check_schema, check_rules, check_job])
def test_jobs_that_ship_are_what_kubernetes_takes(name: str, check: Callable[[Tree], None]) -> None:
    check(read(DEPLOY / "kuberay" / name))


def test_the_cluster_of_a_lab_is_what_ray_up_takes() -> None:
    cluster = read(DEPLOY / "ray-cluster.yaml")
    check_ray_cluster(cluster)
    for commands in ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands"):
        for command in cluster[commands]:
            check_shell(command)
    assert all(source in (".", target) for target, source in cluster["file_mounts"].items())


def test_the_task_of_skypilot_has_fields_that_skypilot_knows() -> None:
    task = read(DEPLOY / "skypilot.yaml")
    check_skypilot(task)
    check_shell(task["setup"])
    check_shell(task["run"])


def test_the_image_has_the_versions_of_the_constraints() -> None:
    lines = (DEPLOY / "Dockerfile").read_text()
    stages = re.findall(r"(?m)^FROM (\S+) AS (\w+)$", lines)
    assert [stage for _, stage in stages] == ["base", "cpu", "cuda"]
    assert re.fullmatch(r"python:3\.11-slim-\w+", stages[0][0])
    installs = re.findall(r"pip install (?:.*\\\n)*.*", lines)
    assert len(installs) == 4
    assert all("-c constraints.txt" in install for install in installs)
    for stage in lines.split("\nFROM ")[2:]:
        assert re.findall(r"(?m)^USER (\w+)$", stage) == ["ray"]
        assert "'.[cluster]'" in stage
    copied = {word for line in re.findall(r"(?m)^COPY (.*) \S+$", lines) for word in line.split()}
    assert all((ROOT / path).exists() for path in copied)
    kept = re.findall("(?m)^!(.*)$", (DEPLOY / "Dockerfile.dockerignore").read_text())
    assert set(kept) == copied


def test_the_ray_that_is_tested_is_the_one_that_is_deployed() -> None:
    assert version("ray") == pinned("ray")


Breakage = Callable[[Tree], object]
BROKEN: list[tuple[Callable[[Tree], None], str, Breakage]] = [
    (check_schema, "kuberay/rayjob.yaml", lambda job: job["spec"].update(backofLimit=3)),
    (check_schema, "kuberay/rayjob.yaml", lambda job: job["spec"].update(ttlSecondsAfterFinished="60s")),
    (check_schema, "kuberay/rayjob-s3.yaml", lambda job: groups(job)[1]["template"]["spec"].update(containers=[{}])),
    (check_rules, "kuberay/rayjob.yaml", lambda job: job["spec"].update(shutdownAfterJobFinishes=False)),
    (check_rules, "kuberay/rayjob.yaml", lambda job: job["spec"].update(submitterPodTemplate={})),
    (check_rules, "kuberay/rayjob.yaml", lambda job: job["spec"].update(submissionMode="InteractiveMode")),
    (check_rules, "kuberay/rayjob.yaml", lambda job: groups(job)[0]["template"]["spec"].update(restartPolicy="Always")),
    (check_rules, "kuberay/rayjob.yaml", lambda job: groups(job)[1]["template"]["spec"].update(restartPolicy="Always")),
    (check_rules, "kuberay/rayjob.yaml", lambda job: groups(job)[1].update(maxReplicas=1)),
    (check_rules, "kuberay/rayjob-s3.yaml", lambda job: groups(job)[1]["template"]["spec"]["volumes"].pop()),
    (check_rules, "kuberay/rayjob.yaml", lambda job: job["metadata"].update(name="Sweep_1")),
    (check_job, "kuberay/rayjob.yaml", lambda job: job["spec"]["rayClusterSpec"].update(rayVersion="2.59.0")),
    (check_job, "kuberay/rayjob.yaml", lambda job: groups(job)[0]["rayStartParams"].clear()),
    (check_job, "kuberay/rayjob.yaml", lambda job: groups(job)[1]["template"]["spec"]["containers"][0]["env"].clear()),
    (check_ray_cluster, "ray-cluster.yaml", lambda cluster: cluster.update(max_worker=2)),
    (check_ray_cluster, "ray-cluster.yaml", lambda cluster: cluster["provider"]["worker_ips"].append("c")),
    (check_skypilot, "skypilot.yaml", lambda task: task.update(num_node=2)),
    (check_skypilot, "skypilot.yaml", lambda task: task["resources"]["job_recovery"].update(max_restart=2)),
    (check_skypilot, "skypilot.yaml", lambda task: task["envs"].pop("STORAGE")),
]


@pytest.mark.parametrize(("check", "name", "damage"), BROKEN)
def test_broken_copies_are_refused(check: Callable[[Tree], None], name: str, damage: Breakage) -> None:
    tree = read(DEPLOY / name)
    damage(tree)
    with pytest.raises((AssertionError, jsonschema.ValidationError)):
        check(tree)


def test_a_broken_shell_script_is_refused() -> None:
    with pytest.raises(AssertionError):
        check_shell("if true; then echo")
