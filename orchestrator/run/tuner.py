"""Ray Tune runs the session's trials until there are no more of them or a signal asks to stop."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

from ray import tune

from orchestrator.run.adapters import PlannedSearcher, PruningScheduler
from orchestrator.run.session import Session
from orchestrator.store.records import Store
from orchestrator.studyfile import ResourcesSection
from orchestrator.worker.job import Job
from orchestrator.worker.ray_trial import RayTrial


def run(
    session: Session,
    store: Store,
    *,
    resources: ResourcesSection,
    concurrency: int,
    fit: str,
    system_metrics: bool = False,
) -> int | None:
    """Run trials until the session has no more of them or a signal asks to stop.

    Args:
        session: Hands out the trials and takes their results.
        store: Where workers keep their epochs.
        resources: What a trial gets.
        concurrency: Trials at a time.
        fit: ``module:function`` that runs a trial.
        system_metrics: Whether trials measure their machine.

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
    searcher = PlannedSearcher(session, job_of)
    # Ray insists on a directory for its experiment state; nothing in it is ever read again.
    scratch = tempfile.mkdtemp(prefix="orchestrator-ray-")
    tuner = tune.Tuner(
        tune.with_resources(RayTrial, {"cpu": resources.cpu, "gpu": resources.gpu}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=PruningScheduler(session, searcher),
            num_samples=-1,
            max_concurrent_trials=concurrency,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=store.study,
            storage_path=scratch,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=resources.retries),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    try:
        with _signals() as received:
            tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if not received and session.running:
        received.append(signal.SIGUSR1)  # sent from outside, it goes straight to Tune's own handler
    if not received:
        return None
    session.interrupt(f"interrupted by {received[0].name}")
    return _exit_code(received[0])


@contextmanager
def _signals() -> Iterator[list[signal.Signals]]:
    """Turn the first SIGINT or SIGTERM into a graceful stop of Ray Tune, the second into an immediate one."""
    received: list[signal.Signals] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        if len(received) > 1:
            os._exit(_exit_code(received[0]))  # Ray's processes end with their driver
        signal.raise_signal(signal.SIGUSR1)  # Tune's own handler: leave the loop after the results at hand

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    previous = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _exit_code(number: signal.Signals) -> int:
    return 130 if number is signal.SIGINT else 143
