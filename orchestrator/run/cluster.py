"""A Ray cluster to run on, and how many trials of a study it can hold at a time."""

import gc
import io
import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from importlib import import_module
from threading import Thread

import ray

from orchestrator.errors import InputError, MachineError, one_line
from orchestrator.run.capacity import trials_at_a_time
from orchestrator.run.reach import Address, check_answers
from orchestrator.run.stop import Stop
from orchestrator.run.temporary import provide_token, ray_folder
from orchestrator.studyfile import ResourcesSection

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
def cluster(text: str | None, source: str, stop_grace_s: float, stop: Stop) -> Iterator[None]:
    """A connection to the Ray cluster at an address, which its source names, or a Ray of our own on this machine.

    Raises:
        InputError: no cluster answers there that this process can drive.
        MachineError: a Ray of our own does not start; says what keeps it.
    """
    os.environ.update(_RAY_ENVIRONMENT | {"TUNE_FORCE_TRIAL_CLEANUP_S": str(max(1, round(stop_grace_s)))})
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the session names lost workers and interrupted trials
    warnings.filterwarnings("ignore", module="ray")
    address = Address.of(text, source)
    stop.say(f"Connecting to Ray at {address.text}" if address else "Starting Ray")
    if address:
        check_answers(address)
    Thread(target=import_module, args=["ray.tune"], daemon=True).start()  # ray.init mostly waits
    # Ray prints what becomes of workers to stdout, in colours even without a terminal; the session tells it too.
    with nullcontext() if address else ray_folder(stop.say) as folder, redirect_stdout(io.StringIO()):
        try:
            _start(address, folder, stop)
            yield
        finally:
            with stop.section(lambda: "leaving Ray", patience_s=math.inf, limit_s=SHUTDOWN_SECONDS), stop.shield():
                _shut_down()


def _start(address: Address | None, folder: str | None, stop: Stop) -> None:
    if address is None:
        provide_token()
    try:
        with stop.shield():
            ray.init(
                address=address.text if address else "local",
                num_cpus=None if address else os.cpu_count(),
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=folder,
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


def slots(resources: ResourcesSection) -> int:
    """How many trials the cluster can run at a time; raises InputError as `trials_at_a_time`."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return trials_at_a_time([node["Resources"] for node in nodes if node["Alive"]], resources)
