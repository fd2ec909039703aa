"""A Ray cluster to run on, and how many trials of a study it can hold at a time."""

import gc
import io
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import ray
from ray.exceptions import RayError

from orchestrator.driver.address import Address
from orchestrator.driver.capacity import allocated_cpus
from orchestrator.driver.cluster_watch import ClusterWatch
from orchestrator.driver.own_ray import as_needed
from orchestrator.driver.reach import check_answers
from orchestrator.driver.stop import Stop
from orchestrator.driver.temporary import provide_token, ray_folder
from orchestrator.errors import InputError, MachineError, one_line
from orchestrator.studyfile import ResourcesSection

SHUTDOWN_SECONDS = 12
"""How long a launch that is stopped waits for Ray to be left: a raylet that hangs holds it up for ever."""
_RAY_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the trial directories are the log
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours tells the signals apart
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",  # capacity is checked before the first trial
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # the searcher counts what fits, and hands out no more
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # of Tune's own state, which nothing reads: the records hold all
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@contextmanager
def cluster(
    text: str | None,
    resources: ResourcesSection,
    stop: Stop,
    announced: Callable[[str], AbstractContextManager[object]] = nullcontext,
    modules: Sequence[str] = (),
    preload: Sequence[str] = (),
) -> Iterator[ClusterWatch]:
    """A connection to the Ray cluster that ``--address`` or this job names, or a Ray of our own on this machine.

    Args:
        text: The cluster; None is that of this job, else a Ray of our own.
        resources: What each trial occupies.
        stop: Owns the signals, and shows the user what is begun.
        announced: Shows the user that something is still being done, for as long as it lasts.
        modules: Folders and files of Python modules that travel to every worker.
        preload: Names of modules that the first workers of a Ray of our own load while the launch prepares.

    Raises:
        InputError: no cluster answers there that this process can drive.
        MachineError: a Ray of our own does not start; says what keeps it.
    """
    cleanup_s = str(max(1, round(resources.stop_grace_s)))
    os.environ.update(_RAY_ENVIRONMENT | {"TUNE_FORCE_TRIAL_CLEANUP_S": cleanup_s})
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the session names lost workers and interrupted trials
    warnings.filterwarnings("ignore", module="ray")
    address = Address.of(text)
    stop.say(f"Joining the Ray cluster of {address}" if address else "Starting Ray")
    if address:
        with announced(f"Waiting for the Ray cluster of {address} to answer"):
            check_answers(address)
    Thread(target=import_module, args=["ray.tune"], daemon=True).start()  # ray.init mostly waits
    # Ray prints what becomes of workers to stdout, in colours even without a terminal; the session tells it too.
    with nullcontext() if address else ray_folder(stop.say) as folder, redirect_stdout(io.StringIO()):
        end_own = _nothing
        try:
            with announced("Waiting for Ray"):
                _start(address, folder, stop, modules, preload)
            if address is None:
                end_own = partial(_end_processes, _raylet())
                stop.lastly(end_own)
            with _watched(resources, stop, own=address is None) as watch:
                yield watch
        finally:
            with stop.section(lambda: "leaving Ray", patience_s=math.inf, limit_s=SHUTDOWN_SECONDS), stop.shield():
                if not stop.abrupt:
                    _shut_down()
                else:  # a cluster that is gone cannot be left
                    end_own()


@contextmanager
def _watched(resources: ResourcesSection, stop: Stop, *, own: bool) -> Iterator[ClusterWatch]:
    """The cluster under a watch that ends the launch where Ray is gone."""
    try:
        watch = ClusterWatch(resources, stop.say, stop.give_up, own=own)
    except RayError as error:
        raise MachineError(f"Ray does not answer: {one_line(error)}") from error
    try:
        with watch:
            yield watch
    finally:
        stop.abrupt = stop.abrupt or watch.gone is not None


def _start(
    address: Address | None, folder: str | None, stop: Stop, modules: Sequence[str], preload: Sequence[str]
) -> None:
    if address is None:
        provide_token()
    try:
        with stop.shield(), nullcontext() if address else as_needed(() if modules else preload):
            ray.init(
                address=address.text if address else "local",
                num_cpus=None if address else allocated_cpus(),
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=folder,
                runtime_env={"py_modules": list(modules)} if modules else None,
            )
    except Exception as error:  # Ray raises Exception itself where one of its processes does not start
        reason = _root(error)
        if address:
            raise InputError(f"{address}: {reason}") from error
        logs = f"its logs are in {folder}/session_latest/logs"
        raise MachineError(f"Ray does not start on this machine: {reason}; {logs}") from error


def _root(error: BaseException) -> str:
    """The telling line: of "Failed to connect" its cause."""
    return _root(error.__cause__) if error.__cause__ is not None else one_line(error)


def _shut_down() -> None:
    """Leave Ray without its handles: one that the collector frees meanwhile, in any thread, aborts the process."""
    gc.collect()  # Tune's handles sit in cycles
    gc.disable()
    try:
        ray.shutdown()
    finally:
        gc.enable()


def _raylet() -> psutil.Process:
    """The process of our own Ray that starts the others."""
    node: Any = ray._private.worker._global_node  # no public name, ray 2.60
    return psutil.Process(node.all_processes["raylet"][0].process.pid)


def _end_processes(raylet: psutil.Process) -> None:
    """Kill what is left of our own Ray, or its workers would work on for nobody."""
    started: list[psutil.Process] = []
    with suppress(psutil.Error):
        started = raylet.children(recursive=True)  # its agents hide their environment
        raylet.kill()  # first: it starts others in place of those that end
    mark = f"RAY_RAYLET_PID={raylet.pid}".encode()
    for process in {*started, *psutil.process_iter()}:
        with suppress(OSError, psutil.Error):
            if process in started or mark in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
                process.kill()
    node: Any = ray._private.worker._global_node  # as above
    node.kill_all_processes(check_alive=False, allow_graceful=False)


def _nothing() -> None:
    """End nothing: a cluster that was joined is not ours."""
