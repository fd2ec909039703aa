"""How the process was started, for usage lines and printed commands: as ``dropclass``, or as a module of Python."""

import os
import sys

PROGRAM = "dropclass"
"""The console script."""
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
