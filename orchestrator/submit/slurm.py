"""A launch as a job of SLURM: ``sbatch`` with the script that ships, ``deploy/slurm/sweep.sbatch``."""

import argparse
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import InputError
from orchestrator.store.commands import of_study, quoted
from orchestrator.studyfile import Study
from orchestrator.submit.launch_options import checked_launch
from orchestrator.terminal.options import count
from orchestrator.tracking.destination import is_database_file, tracking_uri, uri_setting

SCRIPT = Path(__file__).with_name("templates") / "sweep.sbatch"
NAMED = ("nodes", "gpus_per_node", "cpus_per_task", "time", "partition", "account")
"""Options of sbatch that ``--help`` tells; every other one is passed on as well."""


def add_parser(kinds: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand ``slurm``."""
    parser = kinds.add_parser(
        "slurm",
        help="a job of SLURM (sbatch)",
        usage="%(prog)s SPEC [--nodes N] [...] [options of sbatch] [--dry-run] [-- options of the sweep]",
        description="Submit the launch of a study with sbatch; it requeues itself until the study is done.",
        epilog="whatever else sbatch takes is passed on, written as --NAME=VALUE: --qos=high --constraint=a100",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("spec", metavar="SPEC", help="study file, e.g. search_spaces/shapes.yaml")
    add("--nodes", type=count, metavar="N", help="nodes of the job (default: 1)")
    add("--gpus-per-node", metavar="N", help="GPUs of each node, as sbatch takes them: 4, a100:4")
    add("--cpus-per-task", type=count, metavar="N", help="CPUs of each node: trials share them")
    add("--time", metavar="T", help="wall time of each start of the job, e.g. 4:00:00")
    add("--partition", metavar="P", help="partition")
    add("--account", metavar="A", help="account")
    add("--dry-run", action="store_true", help="show the command and the script; submit nothing")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, others: Sequence[str], sweep_words: Sequence[str]) -> int:
    """Submit the job, or show it; returns the exit code.

    Raises:
        InputError: the study cannot be run, or sbatch is missing or refuses the job.
    """
    study, launch = checked_launch(options.spec, sweep_words)
    stray = next((word for word in others if not word.startswith("-")), None)
    if stray is not None:
        raise InputError(f"{stray}: neither a study file nor an option; write options of sbatch as --NAME=VALUE")
    _check_tracking(study, options.nodes or 1)
    storage = launch.storage if "://" in launch.storage else os.path.abspath(os.path.expanduser(launch.storage))
    named = [f"--{name.replace('_', '-')}={value}" for name in NAMED if (value := getattr(options, name)) is not None]
    # the job's own storage comes last: nodes share a path, but need not share what a relative one means
    words = [f"--job-name={study.spec.study}", *named, *others, str(SCRIPT), options.spec, *sweep_words]
    command = ["sbatch", *words, f"--storage={storage}"]
    status = of_study("orchestrator.status", study.spec.study, storage)
    if options.dry_run:
        print(f"{' '.join(map(quoted, command))}\n\n{SCRIPT.read_text()}", end="")
        return 0
    job = _submitted([command[0], "--parsable", *command[1:]])
    print(f"job     {job}; end it with  scancel {job}\nlog     {_log_of(job)}\nstatus  {status}")
    return 0


def _check_tracking(study: Study, nodes: int) -> None:
    """Refuse here what the launch would refuse once the job has waited for its turn."""
    uri, setting = tracking_uri(study.spec.tracking.uri), uri_setting(study.spec.tracking.uri)
    if nodes > 1 and study.spec.tracking.enabled and is_database_file(uri):
        raise InputError(
            f"{setting} {uri}: this database is a file of one machine, and the job has {nodes} nodes; give the address "
            "of an MLflow server (MLFLOW_TRACKING_URI), or -- --set tracking.enabled=false"
        )


def _submitted(command: Sequence[str]) -> str:
    """The number of the job."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise InputError("sbatch: not found; submit where SLURM's commands are, such as a login node") from error
    if done.returncode != 0:
        lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in done.stderr.splitlines()]
        raise InputError(f"sbatch refuses the job: {'; '.join(filter(None, map(str.strip, lines)))}")
    return done.stdout.strip().partition(";")[0]


def _log_of(job: str) -> str:
    """The job's log, as SLURM names it; where it does not answer, how to ask."""
    done = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=False)
    place = re.search(r"^\s*StdOut=(.+)$", done.stdout, re.MULTILINE)
    return place[1] if place else f"scontrol show job {job} tells it (StdOut)"
