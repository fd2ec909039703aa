"""A launch on Kubernetes: the RayJob of KubeRay that ships, ``deploy/kuberay/rayjob.yaml``, filled and applied."""

import argparse
import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.errors import InputError
from orchestrator.store.commands import quoted
from orchestrator.studyfile import Study
from orchestrator.submit.launch_options import checked_launch
from orchestrator.submit.manifest import ENVIRONMENT, Values, filled, study_map

TEMPLATES = Path(__file__).with_name("templates")
SHARED = "/mnt/shared"
"""Where the claim is mounted."""
LONGEST_NAME = 47
"""Of a RayJob; KubeRay derives the names of its services and pods from it."""


def add_parser(kinds: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand ``kuberay``."""
    parser = kinds.add_parser(
        "kuberay",
        help="a RayJob on Kubernetes (kubectl, KubeRay)",
        usage="%(prog)s SPEC --image IMAGE (--claim NAME | --storage s3://...) [...] [--dry-run] [-- OPTIONS]",
        description="Submit the launch of a study as a RayJob, which starts anew after a failure and continues.",
        epilog="OPTIONS: those of python -m orchestrator.sweep",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("spec", metavar="SPEC", help="study file; the job gets it as it is now")
    add("--image", required=True, help="image with this package and Ray (deploy/Dockerfile)")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument(
        "--claim", metavar="NAME", help=f"ReadWriteMany claim, mounted at {SHARED}; studies lie in studies/"
    )
    place.add_argument("--storage", metavar="s3://...", help="bucket and folder of the studies")
    add("--data", metavar="s3://...", help="with --storage: what every pod copies to /data before it begins")
    add(
        "--secret",
        default="dropclass-s3",
        help="with --storage: Secret with AWS_ACCESS_KEY_ID and its like (%(default)s)",
    )
    add("--env", action="append", default=[], metavar="NAME=VALUE", help="a variable of the job's pods; repeatable")
    add("--mlflow", metavar="URI", help="MLflow server, as pods reach it")
    add("--name", help="name of the RayJob (default: that of the study)")
    add("--namespace", metavar="NS", help="namespace (default: that of kubectl's context)")
    add("--workers", type=_whole, default=2, metavar="N", help="nodes to start with (%(default)s)")
    add(
        "--max-workers",
        type=_whole,
        metavar="N",
        help="nodes at most, as trials wait (default: as many as to start with)",
    )
    add("--gpus-per-node", type=_whole, metavar="N", help="GPUs of a node (default: what one trial needs)")
    add("--cpus-per-node", type=_whole, default=8, metavar="N", help="CPUs of a node (%(default)s)")
    add("--memory-per-node", default="32Gi", metavar="SIZE", help="memory of a node (%(default)s)")
    add("--retries", type=_whole, default=3, metavar="N", help="new clusters after failures (%(default)s)")
    add("--dry-run", action="store_true", help="print what would be applied; submit nothing")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, others: Sequence[str], sweep_words: Sequence[str]) -> int:
    """Submit the job, or print it; returns the exit code.

    Raises:
        InputError: the study cannot be run so, or kubectl is missing or refuses the job.
    """
    if others:
        raise InputError(f"{others[0]}: no option of submit kuberay; options of the sweep follow --")
    environment = _environment(options.env)
    study, launch = _checked_launch(options.spec, sweep_words, environment)
    if "--storage" in sweep_words or any(word.startswith("--storage=") for word in sweep_words):
        raise InputError(f"--storage {launch.storage}: give it before --, or --claim")
    _check(options, study)
    name = options.name or _name_of(study.spec.study)
    manifest = _manifest(options, study, name, sweep_words, environment)
    if options.dry_run:
        print(manifest, end="")
        return 0
    _apply(manifest, options.namespace)
    _tell(name, study.spec.study, options)
    return 0


def _checked_launch(
    spec: str, words: Sequence[str], environment: Mapping[str, str]
) -> tuple[Study, argparse.Namespace]:
    try:
        return checked_launch(spec, words, environment)
    except InputError as error:
        remedy = "\n--env NAME=VALUE gives the job's pods a variable; those of this shell are not theirs"
        raise InputError(f"{error}{remedy if 'environment variable' in str(error) else ''}") from error


def _manifest(
    options: argparse.Namespace, study: Study, name: str, words: Sequence[str], environment: dict[str, str]
) -> str:
    """The documents to apply: the study file with the command, and the job."""
    storage = options.storage or f"{SHARED}/studies"
    command = ["exec", "python", "-m", "orchestrator.sweep", *words, f"--storage={storage}", "/study/study.yaml"]
    text = Path(options.spec).read_text(encoding="utf-8")
    files = {"study.yaml": text, "sweep.sh": f"{' '.join(map(quoted, command))}\n"}
    gpus = options.gpus_per_node
    values: Values = {
        "--name": name,
        "STUDY": f"{name}-study",
        "SWEEP": "bash /study/sweep.sh",  # a command would pass through three shells before it runs
        "--image": options.image,
        "--mlflow": options.mlflow,
        "--claim": options.claim,
        "--data": options.data,
        "--secret": options.secret,
        "--workers": options.workers,
        "--max-workers": max(options.workers, options.max_workers or 1),
        "--cpus-per-node": str(options.cpus_per_node),
        "--memory-per-node": options.memory_per_node,
        "--gpus-per-node": str(_gpus_of(study) if gpus is None else gpus),
        "--retries": options.retries,
    }
    template = TEMPLATES / ("rayjob.yaml" if options.claim else "rayjob-s3.yaml")
    job = filled(template.read_text(), values, environment)
    return f"{study_map(f'{name}-study', files)}---\n{job}"


def _check(options: argparse.Namespace, study: Study) -> None:
    """Refuse what the cluster would refuse, or wait for without end."""
    cpus, gpus = options.cpus_per_node, options.gpus_per_node
    needed = study.spec.resources
    if needed.cpu > cpus or (gpus is not None and needed.gpu > gpus):
        has = f"{cpus} CPUs and {_gpus_of(study) if gpus is None else gpus} GPUs"
        raise InputError(
            f"resources: {study.spec.resources.asked}: no node of {has} can ever hold a trial; "
            "give --cpus-per-node and --gpus-per-node"
        )
    if options.max_workers is not None and options.max_workers < options.workers:
        raise InputError(f"--max-workers {options.max_workers}: less than the {options.workers} of --workers")
    if not (options.workers or options.max_workers):
        raise InputError("--workers 0: there will be no node; give --max-workers")
    if options.storage is not None and not re.fullmatch("s3://[^/]+(/.*)?", options.storage):
        raise InputError(f"--storage {options.storage}: not s3://BUCKET/FOLDER; for a shared folder give --claim")
    if options.data is not None and (options.claim or not options.data.startswith("s3://")):
        raise InputError(f"--data {options.data}: an s3:// address, beside --storage; a claim holds data itself")
    if not re.fullmatch("[0-9]+([.][0-9]+)?([KMGT]i?)?", options.memory_per_node):
        raise InputError(f"--memory-per-node {options.memory_per_node}: not a size such as 32Gi")
    if options.name and (
        len(options.name) > LONGEST_NAME or not re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", options.name)
    ):
        raise InputError(
            f"--name {options.name}: not a name for Kubernetes: a-z, 0-9 and -, a letter first, {LONGEST_NAME} at most"
        )
    tracking = study.spec.tracking
    if tracking.enabled and not options.mlflow and not tracking.uri:
        raise InputError("--mlflow: pods need a server, such as http://mlflow:5000; or -- --set tracking.enabled=false")


def _environment(words: Sequence[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    for name, equals, _ in pairs:
        if not equals or not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
            raise InputError(f"--env {name}: not NAME=VALUE")
        if name in ENVIRONMENT:
            raise InputError(f"--env {name}: the manifest sets it; {ENVIRONMENT[name]}")
    return {name: value for name, _, value in pairs}


def _gpus_of(study: Study) -> int:
    """GPUs of a node that holds one trial."""
    return -int(-study.spec.resources.most_gpus // 1)


def _name_of(study: str) -> str:
    """A name for Kubernetes."""
    name = re.sub("[^a-z0-9]+", "-", study.lower()).strip("-")
    return f"{name if name[:1].isalpha() else f'study-{name}'}"[:LONGEST_NAME].rstrip("-")


def _apply(manifest: str, namespace: str | None) -> None:
    command = ["kubectl", *_of_namespace(namespace), "apply", "-f", "-"]
    try:
        done = subprocess.run(command, input=manifest, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise InputError("kubectl: not found; install it, or apply what --dry-run prints where it is") from error
    if done.returncode != 0:
        raise InputError(
            f"kubectl refuses the job: {'; '.join(filter(None, map(str.strip, done.stderr.splitlines())))}"
        )


def _tell(name: str, study: str, options: argparse.Namespace) -> None:
    kubectl = " ".join(map(quoted, ["kubectl", *_of_namespace(options.namespace)]))
    head = f"-l dropclass/job={name},ray.io/node-type=head"
    storage = options.storage or f"{SHARED}/studies"
    status = f"python -m orchestrator.status {quoted(study)} --storage {quoted(storage)}"
    pod = f"$({kubectl} get pod {head} --field-selector=status.phase=Running -o name | tail -n 1)"
    print(f"job     {name}; end it with  {kubectl} delete rayjob {name}")
    print(f"state   {kubectl} get rayjob {name} --watch")
    print(f"log     {kubectl} logs {head} -c ray-job-submitter --follow --tail=-1")
    print(f'status  {kubectl} exec "{pod}" -c ray-head -- {status}')


def _of_namespace(namespace: str | None) -> list[str]:
    return [f"--namespace={namespace}"] if namespace else []


def _whole(text: str) -> int:
    if not re.fullmatch("[0-9]{1,6}", text):
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 999999, got {json.dumps(text[:20])}")
    return int(text)
