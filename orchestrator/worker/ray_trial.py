"""The worker's side of a trial: a Ray Tune Trainable whose step is the next epoch of an ``Attempt``.

An actor runs many trials one after the other (``reuse_actors``), so torch is imported once per actor and not once per
trial. ``setup`` only stores the job: Ray never retries an exception in it, so all work begins in the first ``step``.
A trial's own exception becomes its last result, with the reason; only a lost worker is an error to Ray.
"""

import os
import traceback
from contextlib import suppress
from typing import Any

from ray import tune

from orchestrator.errors import one_line
from orchestrator.worker.attempt import Attempt, StorageFailed, keep_failure


class Trial(tune.Trainable):
    """One trial after another; ``config["job"]`` says which."""

    def setup(self, config: dict[str, Any]) -> None:
        """Store the job; nothing here can fail."""
        self._job: dict[str, Any] = config["job"]
        self._attempt: Attempt | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial over, its predecessor's memory given back."""
        self.cleanup()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Run one epoch and keep it.

        Returns:
            ``epoch`` (from 1) and ``metrics``, as pairs because Ray flattens mappings; ``done`` with the last epoch;
            with the first, ``earlier``, the metrics of the epochs before it, and ``notes``, lines for the user. A trial
            that failed by itself returns ``failure``, one that cannot be kept ``interrupted``, each one line.
        """
        try:
            return self._next_epoch()
        except StorageFailed as error:
            return {"interrupted": str(error), "done": True}
        except Exception as error:  # whatever it is, it is the trial's own
            return self._failed(error)

    def cleanup(self) -> None:
        """Let go of the model and of its GPU memory."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            with suppress(StorageFailed):  # the trial was stopped: nobody asked for what it could not keep
                attempt.close()

    def _next_epoch(self) -> dict[str, Any]:
        first: dict[str, Any] = {}
        if self._attempt is None:
            if self._job["gpu"] == 0:  # Ray hides no GPU from a worker that asked for none
                os.environ["CUDA_VISIBLE_DEVICES"] = ""
            self._attempt = Attempt(self._job)
            earlier = self._attempt.earlier[: self._attempt.planned.epochs - 1]
            first = {"notes": self._attempt.notes, "earlier": [list(metrics.items()) for metrics in earlier]}
        epoch, metrics, done = self._attempt.next_epoch()
        if done:
            self.cleanup()
        return {"epoch": epoch, "metrics": list(metrics.items()), "done": done, **first}

    def _failed(self, error: Exception) -> dict[str, Any]:
        try:
            if self._attempt is not None:
                self._attempt.keep_log()
            keep_failure(self._job, "".join(traceback.format_exception(error)))
        except StorageFailed as problem:
            return {"interrupted": str(problem), "done": True}
        return {"failure": _reason(error), "done": True}


def _reason(error: Exception) -> str:
    name = type(error).__name__
    return one_line(error) if name == "TrialFailed" else f"{name}: {one_line(error)}"
