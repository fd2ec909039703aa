"""The check of a study's models in a process that ends: torch and smp would keep 700 MB of the driver's memory.

That process reads the paths of modules and the study from stdin, and writes what is wrong with it to the descriptor
that it is given.
"""

import os
import pickle
import subprocess
import sys
from threading import Thread

from orchestrator.errors import InputError
from orchestrator.launch.preflight import check_models, fetch_weights
from orchestrator.studyfile import Study

_CODE = "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from {module} import main; main()"


def check_apart(study: Study) -> None:
    """Check the models and fetch their weights in a process of its own, which an interruption ends.

    Raises:
        InputError: Models that cannot be built, weights that cannot be had.
        RuntimeError: The process ended without an answer; what it said is on stderr.
    """
    reading, writing = os.pipe()
    command = [sys.executable, "-c", _CODE.format(module=__name__), str(writing)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[writing]) as child, open(reading, "rb") as answer:
        try:
            os.close(writing)
            assert child.stdin is not None
            pickle.dump(sys.path, child.stdin)
            pickle.dump(study, child.stdin)
            child.stdin.flush()  # it stays open: its end tells the child that its launch has ended
            words = answer.read()
        finally:
            child.kill()  # it inherited which signals are blocked
    if not words:
        raise RuntimeError("the process that checks the models ended without an answer")
    if refusal := pickle.loads(words):
        raise InputError(refusal)


def main() -> None:
    """Check the study that stdin holds."""
    study = pickle.load(sys.stdin.buffer)
    Thread(target=_end_with_the_launch, daemon=True).start()
    refusal = None
    try:
        check_models(study)
        fetch_weights(study)
    except InputError as error:
        refusal = str(error)
    sys.stdout.flush()
    with open(int(sys.argv[1]), "wb") as answer:
        pickle.dump(refusal, answer)


def _end_with_the_launch() -> None:
    sys.stdin.buffer.read()
    os._exit(1)
