"""Ray Tune runs the session's trials until there are no more of them or a signal asks to stop."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError

from orchestrator.driver.adapters import LoopEnd, MeasuredMemory, PlannedSearcher, PruningScheduler
from orchestrator.driver.capacity import Demand
from orchestrator.driver.cards import Cards
from orchestrator.driver.cluster_watch import ClusterWatch
from orchestrator.driver.limits import Limits
from orchestrator.driver.own_ray import plain_actors
from orchestrator.driver.session import Session
from orchestrator.driver.sharing import Sharing
from orchestrator.driver.stop import Stop
from orchestrator.driver.temporary import ray_obstacle, scratch_folder
from orchestrator.errors import MachineError
from orchestrator.store.gpu_peaks import GpuPeaks
from orchestrator.store.records import Store
from orchestrator.studyfile import ResourcesSection
from orchestrator.worker.job import Job
from orchestrator.worker.ray_trial import RayTrial
from orchestrator.worker.versions import versions
from trainable.program import collect_as_usual

MARGIN_S = 5.0
"""How long Ray Tune may take to leave its loop when it is interrupted, before the process ends without it."""


def run(
    session: Session,
    store: Store,
    *,
    resources: ResourcesSection,
    watch: ClusterWatch,
    limits: Limits,
    fit: str,
    probe: str,
    system_metrics: bool,
    stop: Stop,
) -> None:
    """Run trials, as many at a time as the cluster holds, until the session has no more or a stop is asked for.

    Epochs in flight then have ``resources.stop_grace_s``; what was still running is written down from the records.
    """
    job_of = partial(
        Job,
        storage=store.storage,
        study=store.study,
        launch=session.launch,
        fit=fit,
        gpu=resources.most_gpus,
        ranks=resources.trial_ranks,
        threads=resources.threads,
        timeout_s=resources.trial_timeout_s,
        backoff_s=resources.retry_backoff_s,
        system_metrics=system_metrics,
        versions=versions(),
    )
    demand, memory = Demand.of(resources), _measured_memory(resources, store, watch, probe, stop)
    searcher = PlannedSearcher(session, job_of, demand, watch, limits, stop, retries=resources.retries, memory=memory)
    scheduler = PruningScheduler(session, searcher, stop)
    # Ray insists on a directory for its experiment state; nothing in it is ever read again.
    with scratch_folder() as scratch:
        tuner = tune.Tuner(
            RayTrial if demand.gpu else tune.with_resources(RayTrial, {"cpu": resources.cpu}),
            tune_config=_trial_order(searcher, scheduler),
            run_config=_unattended_run(store.study, scratch, resources.retries, LoopEnd(stop, scheduler)),
        )
        collect_as_usual()
        with plain_actors() if watch.is_own else nullcontext():
            _fit(tuner, session, stop, scheduler, resources.stop_grace_s)
    if session.running:
        session.interrupt(_reason(stop))


def _measured_memory(
    resources: ResourcesSection, store: Store, watch: ClusterWatch, probe: str, stop: Stop
) -> MeasuredMemory | None:
    """What trials are packed by where their share of a GPU is measured."""
    if resources.gpu != "auto":
        return None
    cards = Cards()
    sharing = Sharing(resources.cpu, GpuPeaks(store.objects), lambda: cards.of(watch.nodes), stop.say)
    return MeasuredMemory(sharing, probe)


def _fit(tuner: tune.Tuner, session: Session, stop: Stop, scheduler: PruningScheduler, grace_s: float) -> None:
    """Let Ray Tune run; in a stop, wait for the epochs in flight, but not for ever."""

    def awaits() -> str:
        count = scheduler.in_flight
        epochs = f"{count} epoch{'s' * (count != 1)} in flight"
        return f"waiting up to {grace_s:g} s for {epochs}" if count else "no epoch is in flight"

    stop.lastly(lambda: session.seize(_reason(stop)))
    limit_s = grace_s + MARGIN_S
    with stop.section(awaits, patience_s=grace_s, limit_s=limit_s, needs_ray=True), _ray_failures(session):
        try:
            tuner.fit()
        except (KeyboardInterrupt, Exception):
            if not stop.requested:
                raise
    if session.running and not stop.requested:  # it went straight to the handler that Tune sets
        stop.take(signal.SIGUSR1)


def _reason(stop: Stop) -> str:
    assert stop.why is not None  # nothing else leaves trials without an end
    return stop.why


def _trial_order(searcher: PlannedSearcher, scheduler: PruningScheduler) -> tune.TuneConfig:
    """The session says which trial runs next and when, and which one stops."""
    return tune.TuneConfig(search_alg=searcher, scheduler=scheduler, num_samples=-1, reuse_actors=True)


def _unattended_run(study: str, folder: str, retries: int, stopper: LoopEnd) -> tune.RunConfig:
    """A run that prints nothing and keeps nothing that is needed later."""
    return tune.RunConfig(
        name=study,
        storage_path=folder,
        verbose=0,
        progress_reporter=tune.CLIReporter(),  # silent; in a notebook Tune would take one that clears the cell
        stop=stopper,
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
