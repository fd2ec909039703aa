"""A process that writes networks as MLflow models: ``python -m orchestrator.tracking.model_process PARENT``.

``ModelWriter`` starts it, and it ends with that process, even a killed one. It imports torch, smp and mlflow.pytorch,
and then waits. Requests come pickled on stdin: a ``Wanted``, and then the ``LoggedModel`` that its network becomes.
To each it answers with one line of JSON.
"""

import json
import logging
import os
import pickle
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import in_short
from orchestrator.store.records import Store
from orchestrator.tracking.model_writer import NAME, Wanted
from trainable.model.run_reference import NETWORK
from trainable.program import answers_on_stdout, end_with, leave

if TYPE_CHECKING:
    from orchestrator.tracking.model_files import Trained

NICENESS = 5
"""Trials may still run while it imports."""


class Answers:
    """What is done about one request after the other."""

    def __init__(self) -> None:
        self._wanted: Wanted | None = None
        self._trained: Trained | None = None

    def to(self, request: Any) -> dict[str, object]:
        """Do what is asked; what goes wrong is told in one line."""
        try:
            return {"done": self._read(request) if isinstance(request, Wanted) else self._save(request)}
        except Exception as error:  # whatever goes wrong, the driver tells it
            return {"failed": in_short(error)}

    def _read(self, wanted: Wanted) -> bool:
        from orchestrator.tracking.model_files import trained_network
        from trainable.model.export import save_weights

        self._wanted, self._trained = wanted, trained_network(Store(wanted.storage, wanted.study), wanted.record)
        if self._trained is not None:
            save_weights(self._trained.network, Path(wanted.folder) / NETWORK)
        return self._trained is not None

    def _save(self, logged: Any) -> bool:
        from orchestrator.tracking.model_files import save_model

        assert self._wanted is not None
        assert self._trained is not None
        store = Store(self._wanted.storage, self._wanted.study)
        save_model(self._trained, Path(self._wanted.folder) / NAME, store, self._wanted.record, logged)
        return True


def main(parent: int) -> int:
    """Answer until stdin ends; returns the exit code."""
    end_with(parent)
    os.nice(NICENESS)
    with answers_on_stdout() as stdout:
        with suppress(Exception):  # the first request says what is wrong with it
            import orchestrator.tracking.model_files  # noqa: F401
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        answers = Answers()
        with suppress(EOFError):
            while True:
                print(json.dumps(answers.to(pickle.load(sys.stdin.buffer))), file=stdout, flush=True)
    return 0


if __name__ == "__main__":
    leave(main(int(sys.argv[1])))
