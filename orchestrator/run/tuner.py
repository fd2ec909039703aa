"""Ray Tune runs the session's trials until there are no more of them or a signal asks to stop."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError

from orchestrator.errors import MachineError
from orchestrator.run.adapters import PlannedSearcher, PruningScheduler
from orchestrator.run.session import Session
from orchestrator.run.temporary import ray_obstacle, scratch_folder
from orchestrator.store.records import Store
from orchestrator.studyfile import ResourcesSection
from orchestrator.worker.job import Job
from orchestrator.worker.ray_trial import RayTrial


def run(
    session: Session, store: Store, *, resources: ResourcesSection, concurrency: int, fit: str, system_metrics: bool
) -> int | None:
    """Run trials, ``concurrency`` at a time, until the session has no more of them or a signal asks to stop.

    Returns:
        None, or the exit code of the signal that stopped the study: 130 for Ctrl-C, 143 for SIGTERM and for SIGUSR1
        (SLURM's warning).
    """
    job_of = partial(
        Job,
        storage=store.storage,
        study=store.study,
        launch=session.launch,
        fit=fit,
        gpu=resources.gpu,
        threads=resources.threads,
        timeout_s=resources.trial_timeout_s,
        backoff_s=resources.retry_backoff_s,
        system_metrics=system_metrics,
    )
    # Ray insists on a directory for its experiment state; nothing in it is ever read again.
    with scratch_folder() as scratch:
        tuner = tune.Tuner(
            tune.with_resources(RayTrial, {"cpu": resources.cpu, "gpu": resources.gpu}),
            tune_config=_trial_order(session, PlannedSearcher(session, job_of), concurrency),
            run_config=_unattended_run(store.study, scratch, resources.retries),
        )
        with _signals() as received, _ray_failures(session):
            tuner.fit()
    if not received and session.running:
        received.append(signal.SIGUSR1)  # sent from outside, it goes straight to Tune's own handler
    if not received:
        return None
    session.interrupt(f"interrupted by {received[0].name}")
    return _exit_code(received[0])


def _trial_order(session: Session, searcher: PlannedSearcher, concurrency: int) -> tune.TuneConfig:
    """The session says which trial runs next, and which one stops."""
    return tune.TuneConfig(
        search_alg=searcher,
        scheduler=PruningScheduler(session, searcher),
        num_samples=-1,
        max_concurrent_trials=concurrency,
        reuse_actors=True,
    )


def _unattended_run(study: str, folder: str, retries: int) -> tune.RunConfig:
    """A run that prints nothing and keeps nothing that is needed later."""
    return tune.RunConfig(
        name=study,
        storage_path=folder,
        verbose=0,
        failure_config=tune.FailureConfig(max_failures=retries),
        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
    )


@contextmanager
def _ray_failures(session: Session) -> Iterator[None]:
    """Where Ray itself fails, keep what is known of the trials; the study goes on with the next launch.

    Raises:
        MachineError: it failed before the first trial.
    """
    try:
        yield
    except (OSError, RayError, TuneError) as error:
        lines = str(error).split("\n")  # Tune's are tracebacks
        reason = ray_obstacle() or f"Ray failed: {next(filter(None, reversed(lines)), type(error).__name__).strip()}"
        if not session.begun:
            raise MachineError(reason) from error
        session.abandon(reason)


@contextmanager
def _signals() -> Iterator[list[signal.Signals]]:
    """Turn the first SIGINT or SIGTERM into a graceful stop of Ray Tune, the second into an immediate one."""
    received: list[signal.Signals] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        if len(received) > 1:
            os._exit(_exit_code(received[0]))  # Ray's processes end with their driver
        signal.raise_signal(signal.SIGUSR1)  # Tune's own handler: leave the loop after the results at hand

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _exit_code(number: signal.Signals) -> int:
    return 130 if number is signal.SIGINT else 143
