"""The worker's side of a trial: a Ray Tune Trainable whose step is the next epoch of an ``Attempt``, or a probe.

An actor runs many trials one after the other (``reuse_actors``), so torch is imported once per actor and not once per
trial. ``setup`` only stores the job: Ray never retries an exception in it, so all work begins in the first ``step``.
A trial's own exception becomes its last result, with the reason, and so does a machine's, which leaves the trial to the
next launch; only a lost worker is an error to Ray. A GPU without memory is neither: the driver knows how to go on.
"""

import gc
import os
import platform
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ray import tune

from orchestrator.errors import one_line
from orchestrator.worker.attempt import Attempt, StorageFailed, keep_failure, keep_setback
from orchestrator.worker.job import EpochDone, Failed, Interrupted, Job, RanOut, WorkerOutcome
from orchestrator.worker.machine_fault import machine_fault
from orchestrator.worker.memory_probe import measured, setback_of
from orchestrator.worker.versions import difference, versions
from trainable.failure import OutOfMemory, TrialFailed


class RayTrial(tune.Trainable):
    """One trial after another; ``config["job"]`` says which."""

    def setup(self, config: Mapping[str, Job]) -> None:
        """Store the job; nothing here can fail."""
        gc.freeze()  # what is loaded stays: the collector need not go through it
        gc.enable()  # ``without_collector`` may have been loaded with it
        self._take(config)

    def _take(self, config: Mapping[str, Job]) -> None:
        self._job = config["job"]
        self._attempt: Attempt | None = None

    def reset_config(self, new_config: Mapping[str, Job]) -> bool:
        """Take the next trial over, its predecessor's memory given back."""
        self.cleanup()
        self._take(new_config)
        return True

    @classmethod
    def default_resource_request(cls, config: Mapping[str, Any]) -> tune.PlacementGroupFactory | None:
        """What a trial asks Ray for where each may ask for something else; None where all ask for the same."""
        bundle = config.get("bundle")
        return tune.PlacementGroupFactory([dict(bundle)]) if bundle else None

    def step(self) -> dict[str, WorkerOutcome | bool]:
        """Run one epoch and keep it; ``run.adapters`` reads the result, of which Ray itself looks at ``done`` alone."""
        outcome = self._outcome()
        return {"outcome": outcome, "done": not isinstance(outcome, EpochDone) or outcome.last}

    def cleanup(self) -> None:
        """Let go of the model and of its GPU memory."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            with suppress(StorageFailed):  # the trial was stopped: nobody asked for what it could not keep
                attempt.close()

    def _outcome(self) -> WorkerOutcome:
        if self._job.versions and (other := difference(versions(), self._job.versions)):
            return Interrupted(f"node {platform.node()}, which joined later, has {other}")
        try:
            if self._job.probe:
                self._take_gpu()
                return measured(self._job)
            done = self._next_epoch()
            if done.last:
                self.cleanup()
            return done
        except StorageFailed as error:
            return Interrupted(str(error))
        except OutOfMemory as error:
            return self._ran_out(error)
        except Exception as error:  # whatever it is, it ends this trial alone
            return self._failed(error)

    def _next_epoch(self) -> EpochDone:
        if self._attempt is not None:
            return self._attempt.next_epoch()
        self._take_gpu()
        self._attempt = Attempt(self._job)
        began = self._attempt.began
        return replace(self._attempt.next_epoch(), began=began)

    def _take_gpu(self) -> None:
        """Take as much of a GPU as the trial may, before anything lies on it."""
        if self._job.gpu == 0:  # Ray hides no GPU from a worker that asked for none
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
            return
        from trainable.train import gpu_memory  # late: it takes torch

        gpu_memory.prefer_expandable_segments()
        gpu_memory.set_share(self._job.gpu)
        gpu_memory.reset_peak()

    def _ran_out(self, error: OutOfMemory) -> RanOut | Interrupted:
        """Keep what was measured, and what is in flight: the trial goes on in another worker, from its checkpoint."""
        attempt = self._attempt.number if self._attempt else 1
        setback = setback_of(error, attempt, self._job)
        if self._job.probe:  # nothing of the trial has begun
            return RanOut(setback)
        try:
            keep_failure(self._job, self._attempt, "".join(traceback.format_exception(error)))
            keep_setback(self._job, setback)
        except StorageFailed as problem:
            return Interrupted(str(problem))
        self.cleanup()
        return RanOut(setback)

    def _failed(self, error: Exception) -> Failed | Interrupted:
        try:
            keep_failure(self._job, self._attempt, "".join(traceback.format_exception(error)))
        except StorageFailed as problem:
            return Interrupted(str(problem))
        fault = machine_fault(error)
        return Failed(_reason(error)) if fault is None else Interrupted(fault)


def _reason(error: Exception) -> str:
    return one_line(error) if isinstance(error, TrialFailed) else f"{type(error).__name__}: {one_line(error)}"
