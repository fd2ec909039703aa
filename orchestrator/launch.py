"""One launch of a study: from the loaded file to the summary."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from rich.console import Console

from orchestrator.console import open_console, say
from orchestrator.datasets import cache_data, data_fingerprint, draw_data
from orchestrator.display import Progress, build_display
from orchestrator.plan.planner import Planner, judged
from orchestrator.preflight import check_models, fetch_weights, open_store
from orchestrator.records import Record, State, Store
from orchestrator.results import best, threads_for, write_best, write_table
from orchestrator.run.session import Listener, Session
from orchestrator.spec import Study
from orchestrator.summary import print_summary
from orchestrator.tracking import StudyInfo, Tracker, tracking_uri, ui_command

ENGINE = "trainable.engine:fit"
"""What runs a trial: ``module:function``, a generator of epoch results."""


@dataclass(frozen=True)
class Target:
    """Where and how trials run."""

    address: str | None = None
    """Ray cluster; None is a Ray of this machine."""
    max_concurrent: int | None = None
    """Trials at a time; None takes the file's."""
    fit: str = ENGINE
    """``module:function`` that runs a trial."""


@dataclass(frozen=True)
class Ran:
    """How the running of trials ended."""

    exit_code: int | None = None
    """130 or 143 after an interruption, else None."""
    page: str | None = None
    """Address of MLflow's table of the runs."""


def launch(study: Study, *, storage: str, target: Target, command: str) -> int:
    """Run what is left of a study.

    Args:
        study: The study.
        storage: Folder of the studies.
        target: Where and how trials run.
        command: What the user typed, to tell how to continue.

    Returns:
        The command's exit code.

    Raises:
        InputError: Something the user can mend; nothing was written.
    """
    began = time.monotonic()
    console = open_console()
    store = open_store(study, storage)
    known = _known(study, store)
    planner = Planner(study, known)
    ran = Ran()
    if planner.exhausted:
        say(console, f"Study {study.spec.study} is finished: nothing is left to run.")
    else:
        check_models(study)
        fetch_weights(study)
        cache_data(study)
        ran = _run(study, planner, store, known, console, target)
    records = store.records()
    places = _keep(study, store, records) | ({"page": ran.page} if ran.page else {})
    print_summary(console, study, records, seconds=time.monotonic() - began, places=places)
    if ran.exit_code is not None:
        say(console, f"\nInterrupted. Continue with:  {command}")
        return ran.exit_code
    return 3 if any(record.state is State.FAILED for record in records) else 0


def _known(study: Study, store: Store) -> list[Record]:
    """The records of earlier launches. A driver that was killed may have left trials that ended without a verdict."""
    for record in store.records():
        if record.whole and not record.state.final:
            verdict = judged(record.ended(State.COMPLETE), study.spec.objectives)
            store.judge(verdict, record.planned.system_attrs)
    return store.records()


def _run(
    study: Study, planner: Planner, store: Store, known: Sequence[Record], console: Console, target: Target
) -> Ran:
    from orchestrator.run.cluster import cluster, slots  # late: a finished study needs no Ray

    resources = study.spec.resources
    if target.max_concurrent is not None:
        resources = resources.model_copy(update={"max_concurrent": target.max_concurrent})
    with cluster(target.address):
        from orchestrator.run.tuner import run

        concurrency = slots(resources)
        study_id = store.write_study(study.resolved())
        say(console, f"Study {study.spec.study}: {planner.total} trials, {concurrency} at a time; {store.uri}")
        tracker = _tracker(study, study_id, known)
        progress = Progress(planner.total, study.space.max_epochs(), study.spec.objectives[0], known)
        with build_display(progress, console) as display:
            listeners: list[Listener] = [display, *([tracker] if tracker else [])]
            session = Session(planner, store, listeners)
            exit_code = run(session, store, resources=resources, concurrency=concurrency, fit=target.fit)
        if tracker:
            _close(tracker, store, study, console, interrupted=exit_code is not None)
    return Ran(exit_code, tracker.page if tracker else None)


def _tracker(study: Study, study_id: str, known: Sequence[Record]) -> Tracker | None:
    settings = study.spec.tracking
    if not settings.enabled:
        return None
    info = StudyInfo(
        study_id=study_id,
        name=study.spec.study,
        experiment=settings.experiment or study.spec.study,
        objective=study.spec.objectives[0],
        settings=study.resolved(),
        from_env=study.from_env,
        data_fingerprint=data_fingerprint,
        draw_data=partial(draw_data, study),
    )
    tracker = Tracker(tracking_uri(settings.uri), info)
    for record in known:  # whatever an earlier launch could not write
        tracker.update(record)
    return tracker


def _close(tracker: Tracker, store: Store, study: Study, console: Console, *, interrupted: bool) -> None:
    objective = study.spec.objectives[0]
    top = best(store.records(), objective)
    summary = {f"best/{objective.metric}": top.epochs[-1][objective.metric]} if top else {}
    problem = tracker.close(status="KILLED" if interrupted else "FINISHED", summary=summary)
    if problem:
        say(console, problem)


def _keep(study: Study, store: Store, records: Sequence[Record]) -> dict[str, str]:
    """Write the results; returns where everything lies."""
    places = {"study": store.uri, "table": write_table(store, records)}
    objective = study.spec.objectives[0]
    top = best(records, objective)
    if top is not None:
        threads = threads_for(study.spec.resources.cpu)
        places["best"] = write_best(store, top, study.spec.study, objective, threads)
    command = ui_command(tracking_uri(study.spec.tracking.uri))
    if study.spec.tracking.enabled and command is not None:
        places["runs"] = command
    return places
