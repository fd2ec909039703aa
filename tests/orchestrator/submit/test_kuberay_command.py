"""The command of ``submit kuberay``, its manifests and its refusals, with a stand-in for kubectl."""

import copy
import stat
from pathlib import Path

import pytest
import yaml
from manifest_checks import Tree, check_job, check_rules, check_schema, check_shell, containers, groups

from orchestrator.submit.__main__ import main

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
