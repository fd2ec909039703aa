"""One launch of a study: from the loaded file to the summary."""

import os
import sys
import time
from collections.abc import Mapping, Sequence

from rich.console import Console

from orchestrator.display import Progress, build_display
from orchestrator.plan.planner import Planner
from orchestrator.preflight import check_models, check_same_study, fetch_weights
from orchestrator.records import Record, State, Store
from orchestrator.results import best, write_best, write_table
from orchestrator.run.session import Listener, Session
from orchestrator.spec import Study
from orchestrator.summary import print_summary
from orchestrator.tracking import Tracker, tracking_uri, ui_command

PLAIN_WIDTH = 120
"""Columns where there is no terminal to ask."""


def launch(
    study: Study, *, storage: str, address: str | None, max_concurrent: int | None, command: str, fit: str | None = None
) -> int:
    """Run what is left of a study.

    Args:
        study: The study.
        storage: Folder of the studies.
        address: Ray cluster; None takes RAY_ADDRESS, else a Ray of this machine.
        max_concurrent: Trials at a time; None takes the file's.
        command: What the user typed, to tell how to continue.
        fit: ``module:function`` that runs a trial, instead of the training engine.

    Returns:
        The command's exit code.

    Raises:
        InputError: Something the user can mend; nothing was written.
    """
    began = time.monotonic()
    console = _console()
    check_models(study)
    store = Store(storage, study.spec.study)
    check_same_study(study, store)
    known = store.records()
    planner = Planner(study, known)
    stopped = None
    if planner.exhausted:
        _say(console, f"Study {study.spec.study} is finished: nothing is left to run.")
    else:
        fetch_weights(study)
        stopped = _run(study, planner, store, known, console, address, max_concurrent, fit)
    records = store.records()
    print_summary(console, study, records, seconds=time.monotonic() - began, places=_keep(study, store, records))
    if stopped is not None:
        _say(console, f"\nInterrupted. Continue with:  {command}")
        return stopped
    return 3 if any(record.state is State.FAILED for record in records) else 0


def _run(
    study: Study,
    planner: Planner,
    store: Store,
    known: Sequence[Record],
    console: Console,
    address: str | None,
    max_concurrent: int | None,
    fit: str | None,
) -> int | None:
    """Run the trials; returns the exit code of an interruption."""
    from orchestrator.run.cluster import cluster, slots
    from orchestrator.run.tuner import run
    from orchestrator.trial import ENGINE

    resources = study.spec.resources
    if max_concurrent is not None:
        resources = resources.model_copy(update={"max_concurrent": max_concurrent})
    with cluster(address or os.environ.get("RAY_ADDRESS")):
        concurrency = slots(resources)
        store.write_study(study.resolved())
        _say(console, f"Study {study.spec.study}: {planner.total} trials, {concurrency} at a time; {store.uri}")
        tracker = _tracker(study, known)
        objective = study.spec.objectives[0]
        progress = Progress(planner.total, study.space.max_epochs(), objective, known)
        with build_display(progress, console) as display:
            listeners: list[Listener] = [display, *([tracker] if tracker else [])]
            session = Session(planner, store, listeners)
            stop = run(session, store, resources=resources, concurrency=concurrency, fit=fit or ENGINE)
        if tracker:
            _close(tracker, store, study, console, interrupted=stop is not None)
    return stop


def _tracker(study: Study, known: Sequence[Record]) -> Tracker | None:
    settings = study.spec.tracking
    if not settings.enabled:
        return None
    tracker = Tracker(
        tracking_uri(settings.uri),
        experiment=settings.experiment or study.spec.study,
        study=study.spec.study,
        objective=study.spec.objectives[0],
        settings=study.resolved(),
        from_env=study.from_env,
    )
    for record in known:  # whatever an earlier launch could not write
        tracker.update(record)
    return tracker


def _close(tracker: Tracker, store: Store, study: Study, console: Console, *, interrupted: bool) -> None:
    objective = study.spec.objectives[0]
    top = best(store.records(), objective)
    summary = {f"best/{objective.metric}": top.epochs[-1][objective.metric]} if top else {}
    problem = tracker.close(status="KILLED" if interrupted else "FINISHED", summary=summary)
    if problem:
        _say(console, problem)


def _keep(study: Study, store: Store, records: Sequence[Record]) -> Mapping[str, str]:
    """Write the results; returns where everything lies."""
    places = {"study": store.uri, "table": write_table(store, records)}
    objective = study.spec.objectives[0]
    top = best(records, objective)
    if top is not None:
        places["best"] = f"python -m trainable {write_best(store, top, study.spec.study, objective)}"
    if study.spec.tracking.enabled:
        experiment = study.spec.tracking.experiment or study.spec.study
        places["runs"] = f"{ui_command(tracking_uri(study.spec.tracking.uri))}  (experiment {experiment})"
    return places


def _console() -> Console:
    console = Console(file=sys.stdout)  # bound now: Ray's own output is led away later
    return console if console.is_terminal else Console(file=sys.stdout, width=PLAIN_WIDTH)


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
