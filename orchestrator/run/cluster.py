"""A Ray cluster to run on, and how many trials of a study it can hold at a time."""

import gc
import io
import logging
import os
import re
import signal
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from threading import Thread

import ray

from orchestrator.errors import InputError, one_line
from orchestrator.run.capacity import trials_at_a_time
from orchestrator.studyfile import ResourcesSection

REACH_SECONDS = 5
"""How long a cluster may take to answer."""
_RAY_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the trial directories are the log
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours tells the signals apart
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",  # capacity is checked before the first trial
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@contextmanager
def cluster(address: str | None, stop_grace_s: float = 30.0) -> Iterator[None]:
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
            with _own_signals():
                ray.init(
                    address=address or "local",
                    num_cpus=os.cpu_count() if address is None else None,
                    include_dashboard=False if address is None else None,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
        except (ValueError, ConnectionError) as error:
            raise InputError(f"--address {address}: {one_line(error)}") from error
        try:
            yield
        finally:
            _shut_down()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the process's own handlers: Ray sets one for SIGTERM that exits in silence, also while Ray starts."""
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    terminated = False
    try:
        yield
    except SystemExit:
        terminated = True
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if terminated:
        signal.raise_signal(signal.SIGTERM)


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
    """How many trials the cluster can run at a time; raises InputError as `trials_at_a_time`."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return trials_at_a_time([node["Resources"] for node in nodes if node["Alive"]], resources)
