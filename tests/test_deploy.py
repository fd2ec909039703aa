"""The files of deploy/ against the schemas of what reads them, and the rules that those do not say."""

import copy
import json
import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml

from orchestrator.submit.__main__ import main

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
SCHEMAS = ROOT.parent / "shared/kuberay"
STUDY = """\
study: Shapes_1
objective: {metric: val/miou, mode: max}
data: {name: shapes}
model: {arch: linknet, encoder: tu-test_resnet, encoder_weights: null}
train: {epochs: 1, batch_size: 2}
suppression: {p_max: {uniform: [0, 1]}}

search: {trials: 2}  # a 'comment' with "$quotes" and \\
resources: {cpu: 2, gpu: 0.5}
"""
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


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "s.yaml").write_text(STUDY)
    (tmp_path / "bin").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "s.yaml"


CLAIM, S3 = ["--claim", "lab"], ["--storage", "s3://bucket/studies"]
MLFLOW = ["--mlflow", "http://mlflow.lab:5000"]


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[Tree, Tree]:
    """The study's map and the job that a dry run prints."""
    end = words.index("--") if "--" in words else len(words)
    typed = ["kuberay", "s.yaml", "--image", "registry.lab/dropclass:1", *words[:end], "--dry-run", *words[end:]]
    assert main(typed) == 0
    study, job = yaml.safe_load_all(capsys.readouterr().out)
    return dict(study), dict(job)


@pytest.mark.parametrize(
    "words",
    [
        [*CLAIM, *MLFLOW],
        [*S3, *MLFLOW],
        [*CLAIM, "--", "--set", "tracking.enabled=false"],
        [
            *S3,
            *MLFLOW,
            "--data",
            "s3://bucket/data",
            "--secret",
            "keys",
            "--env",
            "DATA=/data",
            "--env",
            'ODD="a\\b: #',
        ],
        [*CLAIM, *MLFLOW, "--workers", "0", "--max-workers", "9", "--gpus-per-node", "4", "--cpus-per-node", "16"],
    ],
)
def test_what_is_submitted_is_what_kubernetes_takes(
    spec: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    study, job = printed(capsys, *words)
    assert study["data"]["study.yaml"] == STUDY
    check_shell(study["data"]["sweep.sh"])
    for check in (check_rules, check_job, check_schema):
        check(copy.deepcopy(job))


def test_options_fill_the_job(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*S3, *MLFLOW, "--data", "s3://b/d", "--secret", "keys", "--env", 'ODD="a\\b: #$(x', "--workers", "3"]
    study, job = printed(capsys, *words, "--max-workers", "7", "--retries", "5", "--", "--set", "search.trials=3")
    head, workers = groups(job)
    assert job["metadata"]["name"] == "shapes-1"
    assert {container["image"] for container in containers(job)} == {"registry.lab/dropclass:1"}
    assert (workers["replicas"], workers["minReplicas"], workers["maxReplicas"]) == (3, 0, 7)
    assert {group["template"]["metadata"]["labels"]["dropclass/job"] for group in groups(job)} == {"shapes-1"}
    assert job["spec"]["backoffLimit"] == 5
    limits = workers["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "1"}  # half a GPU is on one
    main_head = head["template"]["spec"]["containers"][0]
    assert {"name": "MLFLOW_TRACKING_URI", "value": "http://mlflow.lab:5000"} in main_head["env"]
    for container in containers(job):
        assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
    for group in (head, workers):
        assert {"name": "ODD", "value": '"a\\b: #$$(x'} in group["template"]["spec"]["containers"][0]["env"]
        assert group["template"]["spec"]["initContainers"][0]["args"] == ["s3://b/d", "/data"]
    assert head["template"]["spec"]["volumes"][0]["configMap"]["name"] == study["metadata"]["name"] == "shapes-1-study"
    assert job["spec"]["entrypoint"] == "bash /study/sweep.sh"
    sweep = "exec python -m orchestrator.sweep --set search.trials=3 --storage=s3://bucket/studies /study/study.yaml\n"
    assert study["data"]["sweep.sh"] == sweep


def test_a_study_gets_its_variables_from_the_options_and_not_from_here(
    spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLACE", "/here")
    spec.write_text(STUDY.replace("{name: shapes}", '{name: camvid, root: "${PLACE}", size: [96, 128]}'))
    assert main(["kuberay", "s.yaml", "--image", "i", *CLAIM, *MLFLOW, "--dry-run"]) == 2
    assert "PLACE is not set\n--env NAME=VALUE gives" in capsys.readouterr().err
    _, job = printed(capsys, *CLAIM, *MLFLOW, "--env", "PLACE=/mnt/shared/camvid")
    assert {"name": "PLACE", "value": "/mnt/shared/camvid"} in groups(job)[0]["template"]["spec"]["containers"][0][
        "env"
    ]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([*CLAIM], "--mlflow: pods need a server"),
        ([*CLAIM, *MLFLOW, "--qos", "high"], "--qos: no option of submit kuberay"),
        ([*CLAIM, *MLFLOW, "--gpus-per-node", "0"], "resources: {cpu: 2, gpu: 0.5}: no node of 8 CPUs and 0 GPUs"),
        ([*CLAIM, *MLFLOW, "--cpus-per-node", "1"], "no node of 1 CPUs and 1 GPUs can ever hold a trial"),
        ([*CLAIM, *MLFLOW, "--max-workers", "1"], "--max-workers 1: less than the 2 of --workers"),
        ([*CLAIM, *MLFLOW, "--workers", "0"], "--workers 0: there will be no node"),
        (["--storage", "studies", *MLFLOW], "--storage studies: not s3://BUCKET/FOLDER"),
        ([*CLAIM, *MLFLOW, "--data", "s3://b/d"], "--data s3://b/d: an s3:// address, beside --storage"),
        ([*CLAIM, *MLFLOW, "--name", "A_b"], "--name A_b: not a name for Kubernetes"),
        ([*CLAIM, *MLFLOW, "--memory-per-node", "32 GB"], "--memory-per-node 32 GB: not a size such as 32Gi"),
        ([*CLAIM, *MLFLOW, "--env", "A"], "--env A: not NAME=VALUE"),
        ([*CLAIM, *MLFLOW, "--env", "DROPCLASS_CACHE=/x"], "--env DROPCLASS_CACHE: the manifest sets it"),
        ([*CLAIM, *MLFLOW, "--", "--storage", "x"], "--storage x: give it before --"),
        ([*CLAIM, *MLFLOW, "--", "--set", "search.trials=x"], "expected a whole number, got 'x'"),
    ],
)
def test_what_cannot_work_is_told_in_one_line(
    spec: Path, capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    end = words.index("--") if "--" in words else len(words)
    assert main(["kuberay", "s.yaml", "--image", "i", *words[:end], "--dry-run", *words[end:]]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert line in output.err
    assert output.err.count("\n") == 1


def kubectl(folder: Path, script: str) -> None:
    path = folder / "bin/kubectl"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_the_job_is_applied_and_the_way_to_follow_it_told(
    spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["kuberay", "s.yaml", "--image", "i", *CLAIM, *MLFLOW, "--namespace", "lab"]
    monkeypatch.setenv("PATH", str(spec.parent / "bin"))
    assert main(typed) == 2
    assert capsys.readouterr().err.startswith("kubectl: not found; install it")
    monkeypatch.setenv("PATH", f"{spec.parent}/bin:/usr/bin:/bin")
    kubectl(spec.parent, 'echo "error: no such namespace" >&2; exit 1')
    assert main(typed) == 2
    assert capsys.readouterr().err == "kubectl refuses the job: error: no such namespace\n"
    kubectl(spec.parent, 'echo "$@" > words; cat > applied.yaml')
    assert main(typed) == 0
    assert (spec.parent / "words").read_text() == "--namespace=lab apply -f -\n"
    _, job = yaml.safe_load_all((spec.parent / "applied.yaml").read_text())
    check_rules(job)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["job", "state", "log", "status"]
    assert "python -m orchestrator.status Shapes_1 --storage /mnt/shared/studies" in lines[-1]
    for line in lines:
        check_shell(line.partition("with  ")[2] or line.partition(" ")[2])


def test_any_study_file_arrives_byte_for_byte(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in (
        STUDY.rstrip("\n"),
        f"{STUDY}\n\n",
        f"# é — \U0001f600\n{STUDY}",
        f"  # indented\n{STUDY}",
        f"{STUDY}   \n",
    ):
        spec.write_text(text)
        study, _ = printed(capsys, *CLAIM, *MLFLOW)
        assert study["data"]["study.yaml"] == text
