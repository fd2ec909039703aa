"""The worker's side of a trial: a Ray Tune Trainable whose step is the next epoch of ``trainable.engine.fit``.

An actor runs many trials one after the other (``reuse_actors``), so torch is imported once per actor and not once per
trial. ``setup`` only stores the job: Ray never retries an exception in it, so all work begins in the first ``step``.
A trial's own exception becomes its last result, with the reason; only a lost worker is an error to Ray.
"""

import json
import os
import traceback
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from ray import tune

from orchestrator.records import Store
from trainable.config import TrialConfig


class Trial(tune.Trainable):
    """One trial after another; ``config["job"]`` says which."""

    def setup(self, config: dict[str, Any]) -> None:
        """Store the job; nothing here can fail."""
        self._job: dict[str, Any] = config["job"]
        self._epochs: Iterator[Any] | None = None
        self._history: list[Mapping[str, float]] = []

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial over, its predecessor's memory given back."""
        self.cleanup()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Run one epoch and keep its metrics.

        Returns:
            ``epoch`` (from 1) and ``metrics``, as pairs because Ray flattens mappings; ``done`` with the last epoch.
            A failed trial returns ``failure``, one line.
        """
        try:
            return self._next_epoch()
        except Exception as error:  # whatever it is, it is the trial's own
            self._store().write_traceback(self._job["key"], traceback.format_exc())
            return {"failure": _one_line(error), "done": True}

    def cleanup(self) -> None:
        """Close the generator, which lets go of the model and of its GPU memory."""
        close = getattr(self._epochs, "close", None)
        if close is not None:
            close()
        self._epochs = None

    def _next_epoch(self) -> dict[str, Any]:
        if self._epochs is None:
            self._epochs = _start(self._job)
        result = next(self._epochs)
        self._history.append(result.metrics)
        self._store().write_epochs(self._job["key"], self._history)
        done = result.epoch >= self._job["config"]["train"]["epochs"]
        if done:
            self.cleanup()
        return {"epoch": result.epoch, "metrics": list(result.metrics.items()), "done": done}

    def _store(self) -> Store:
        return Store(self._job["storage"], self._job["study"])


def _start(job: Mapping[str, Any]) -> Iterator[Any]:
    if job["gpu"] == 0:  # Ray hides no GPU from a worker that asked for none
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    module, _, function = str(job["fit"]).partition(":")
    config = TrialConfig.model_validate_json(json.dumps(job["config"]))
    epochs: Iterator[Any] = getattr(import_module(module), function)(config, threads=job["threads"])
    return epochs


def _one_line(error: Exception) -> str:
    name = type(error).__name__
    text = " ".join(str(error).split())
    return text if name == "TrialFailed" else f"{name}: {text}"
