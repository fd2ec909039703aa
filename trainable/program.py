"""How the process was started, for usage lines and printed commands, and how it ends."""

import atexit
import ctypes
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, NoReturn

PROGRAM = "dropclass"
"""The console script."""
_PR_SET_PDEATHSIG = 1
_USUALLY, _RARELY = (700, 10, 10), 100_000
"""Python's own thresholds of its collector; that of new objects while a command loads."""
UNWRITTEN = 120
"""Python's own exit code where the last of what was printed could not be written."""
_OTHERWISE = {
    "trainable": "train",
    "orchestrator.compare_studies": "compare",  # orchestrator.compare and .predict are functions
    "orchestrator.predict_images": "predict",
}


def command_of(module: str) -> str:
    """The name of a command by its module: its last part, but for a few."""
    return _OTHERWISE.get(module, module.rpartition(".")[2])


def started_as_program() -> bool:
    """Whether the console script started this process."""
    return os.path.basename(sys.argv[0]) == PROGRAM


def usage_name(module: str) -> str:
    """What a usage line calls a command: as the user started it."""
    return f"{PROGRAM} {command_of(module)}" if started_as_program() else f"python -m {module}"


def collect_rarely() -> None:
    """Let Python's collector seldom go through what a command loads: modules stay, and it is a tenth of their time."""
    gc.set_threshold(_RARELY, *_USUALLY[1:])


def collect_as_usual() -> None:
    """End ``collect_rarely``, where it began: from now on as Python does, but for all that is there."""
    if gc.get_threshold()[0] == _RARELY:
        gc.freeze()
        gc.set_threshold(*_USUALLY)


def leave(code: int) -> NoReturn:
    """End the process as Python would, hooks at exit included, but for its last collection.

    That takes seconds where Ray, MLflow and matplotlib were imported, and nothing of ours is left to it: every file is
    closed where it was opened.
    """
    atexit._run_exitfuncs()  # Ray, MLflow, logging, multiprocessing, temporary folders, measured coverage
    with suppress(OSError, ValueError):  # closed, or nobody reads it
        if sys.stderr is not None:
            sys.stderr.flush()
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        code = code or UNWRITTEN
    os._exit(code)


def end_with(parent: int) -> None:
    """Die with the process that started this one, even a killed one; Linux alone can."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended in between
        os._exit(1)


def start_module(module: str, *arguments: str, **options: Any) -> "subprocess.Popen[Any]":
    """Run a module that is asked on stdin and answers on stdout; its first argument is the id of this process.

    Args:
        module: Finds modules as this process does; it calls `end_with`.
        arguments: Further arguments.
        options: Of ``subprocess.Popen``.

    Raises:
        OSError: no process can be started.
    """
    found = os.pathsep.join(os.path.abspath(place) for place in sys.path)
    own: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "env": {**os.environ, "PYTHONPATH": found},
    }
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", module, str(os.getpid()), *arguments], **own | options
    )


@contextmanager
def answers_on_stdout() -> Iterator[IO[str]]:
    """Where a module that was started answers; what libraries print goes to stderr."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        yield answers
