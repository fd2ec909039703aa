"""Starts and asks the process that writes networks as MLflow models: the driver imports no torch for it."""

import json
import pickle
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.store.trial_record import Record
from trainable.program import start_module

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

MODULE = "orchestrator.tracking.model_process"
NAME = "model"
"""Name of the logged model, ``runs:/<run>/model`` finds it; its files lie in a folder of that name."""


class NoModelError(Exception):
    """The network can no longer be built or written, or what writes it died: one line."""


@dataclass(frozen=True)
class Wanted:
    """A trial whose network is to be written."""

    storage: str
    study: str
    record: Record
    folder: str
    """Where its files are written; a folder of this machine."""


class ModelWriter:
    """A process of its own, which imports what it needs as soon as it is started; `close` ends it.

    It ends with the thread that started it, too.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, unless it lives.

        Raises:
            OSError: no process can be started.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        # Ctrl-C is for the launch, which then leaves the model to the next
        self._process = start_module(MODULE, process_group=0)

    def read(self, wanted: Wanted) -> bool:
        """Read a trial's network and write its weights into the folder, as ``NETWORK``.

        Returns:
            Whether a good checkpoint of the last epoch is kept.

        Raises:
            NoModelError: it cannot be read, built or written.
            OSError: no process can be started.
        """
        self.start()
        return self._ask(wanted)

    def save(self, logged: "LoggedModel") -> None:
        """Write the network that was read as a model that MLflow knows of, into ``NAME`` of the folder.

        Raises:
            NoModelError: it cannot be written.
        """
        self._ask(logged)

    def close(self) -> None:
        """End the process: what it wrote is on the disk."""
        if self._process is not None:
            self._process.kill()
            with suppress(BrokenPipeError):  # of a request that it did not take
                self._process.communicate()
            self._process = None

    def _ask(self, request: object) -> bool:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it has ended: that it does not answer says so
            self._process.stdin.write(pickle.dumps(request))
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise NoModelError(f"the process that writes it ended with {self._process.wait()}")
        answer = json.loads(line)
        if "failed" in answer:
            raise NoModelError(answer["failed"])
        return bool(answer["done"])
