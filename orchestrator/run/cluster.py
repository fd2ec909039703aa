"""A Ray cluster to run on, and how many trials of a study it can hold at a time."""

import gc
import io
import logging
import math
import os
import re
import socket
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from threading import Thread

import ray

from orchestrator.errors import InputError, one_line
from orchestrator.run.stop import Stop
from orchestrator.studyfile import ResourcesSection

REACH_SECONDS = 5
"""How long a cluster may take to answer."""
SHUTDOWN_SECONDS = 12
"""How long a launch that is stopped waits for Ray to be left: a raylet that hangs holds it up for ever."""
_RAY_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the trial directories are the log
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours tells the signals apart
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",  # capacity is checked before the first trial
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@contextmanager
def cluster(address: str | None, stop_grace_s: float, stop: Stop) -> Iterator[None]:
    """A connection to the Ray cluster at ``address``, or a Ray of our own on this machine."""
    os.environ.update(_RAY_ENVIRONMENT | {"TUNE_FORCE_TRIAL_CLEANUP_S": str(max(1, round(stop_grace_s)))})
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the session names lost workers and interrupted trials
    warnings.filterwarnings("ignore", module="ray")
    _check_reachable(address)
    Thread(target=import_module, args=["ray.tune"], daemon=True).start()  # ray.init mostly waits
    # Ray prints what becomes of workers to stdout, in colours even without a terminal; the session tells it too.
    with redirect_stdout(io.StringIO()):
        try:
            _start(address, stop)
            yield
        finally:
            with stop.section(lambda: "leaving Ray", patience_s=math.inf, limit_s=SHUTDOWN_SECONDS), stop.shield():
                _shut_down()


def _start(address: str | None, stop: Stop) -> None:
    try:
        with stop.shield():
            ray.init(
                address=address or "local",
                num_cpus=os.cpu_count() if address is None else None,
                include_dashboard=False if address is None else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ValueError, ConnectionError) as error:
        raise InputError(f"--address {address}: {one_line(error)}") from error


def _shut_down() -> None:
    """Leave Ray without its handles: one that the collector frees meanwhile, in any thread, aborts the process."""
    gc.collect()  # Tune's handles sit in cycles
    gc.disable()
    try:
        ray.shutdown()
    finally:
        gc.enable()


def _check_reachable(address: str | None) -> None:
    """Ray itself tries for more than a minute, in its own words, where nobody listens."""
    match = re.fullmatch(r"(?:ray://)?([^:/]+):(\d{1,5})", address or "")
    if match:
        try:
            socket.create_connection((match[1], int(match[2])), timeout=REACH_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise InputError(f"--address {address}: no Ray cluster answers there ({error})") from error


def slots(resources: ResourcesSection) -> int:
    """How many trials the cluster can run at a time.

    Raises:
        InputError: No node is large enough for one trial.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    fitting = sum(_fits(node, resources) for node in nodes)
    if fitting == 0:
        largest = ", ".join(f"{name.lower()}: {max(n.get(name, 0) for n in nodes):g}" for name in ("CPU", "GPU"))
        raise InputError(
            f"resources: {{cpu: {resources.cpu:g}, gpu: {resources.gpu:g}}}: no node can ever meet this; "
            f"the largest has {{{largest}}}"
        )
    return min(fitting, resources.max_concurrent or fitting)


def _fits(node: Mapping[str, float], resources: ResourcesSection) -> int:
    cpus = node.get("CPU", 0) / resources.cpu
    if resources.gpu == 0:
        return int(cpus)
    if resources.gpu < 1:  # fractions pack within one GPU, never across two
        gpus = int(node.get("GPU", 0)) * int(1 / resources.gpu)
    else:
        gpus = int(node.get("GPU", 0) / resources.gpu)
    return min(int(cpus), gpus)
