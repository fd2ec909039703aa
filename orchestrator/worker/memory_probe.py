"""What a worker tells of GPU memory: the peak that a probe saw, and how it ran out."""

from dataclasses import asdict
from importlib import import_module
from typing import Protocol

from orchestrator.store.trial_record import Setback
from orchestrator.worker.job import Job, Measured
from trainable.config import TrialConfig, read_trial
from trainable.failure import OutOfMemory


class Measure(Protocol):
    """What ``Job.probe`` names."""

    def __call__(self, config: TrialConfig, *, threads: int) -> tuple[int, int]:
        """Peak of the trial's tensors and what the GPU has, in bytes."""


def measured(job: Job) -> Measured:
    """Measure a trial's peak; raises what the trial itself would."""
    assert job.probe is not None
    module, _, function = job.probe.partition(":")
    measure: Measure = getattr(import_module(module), function)
    return Measured(*measure(read_trial(job.planned.config), threads=job.threads))


def setback_of(error: OutOfMemory, attempt: int, job: Job) -> Setback:
    """The error as it is kept."""
    use = asdict(error.use) if error.use else {}
    return Setback(attempt, job.rung, job.gpu, error.where, **use)
