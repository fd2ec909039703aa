"""One launch of a study: from the loaded file to the summary."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from rich.console import Console

from orchestrator.errors import InputError
from orchestrator.launch.data_sets import cache_data, check_data_unchanged, draw_data, rare_class_names
from orchestrator.launch.history import History, import_trials, read_history
from orchestrator.launch.preflight import check_models, fetch_weights, open_store
from orchestrator.launch.stages import Round, Stages
from orchestrator.run.session import Listener, Session
from orchestrator.store import layout
from orchestrator.store.lease import lease
from orchestrator.store.masking import shown
from orchestrator.store.records import Store
from orchestrator.store.results_table import threads_for, write_best, write_table
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Study
from orchestrator.terminal.console import open_console, say
from orchestrator.terminal.display import Progress, build_display
from orchestrator.terminal.summary import print_summary
from orchestrator.tracking import StudyInfo, Tracker, tracking_uri, ui_command
from orchestrator.tracking.published_study import final_metrics_of_study, is_behind, note_tracking, track_command

ENGINE = "trainable.train.engine:fit"
"""What runs a trial: ``module:function``, a generator of epoch results."""
PATIENCE_S, STOPPED_PATIENCE_S = 600.0, 15.0
"""How long MLflow may take for one step at the end of a launch, such as a model, and of one that was stopped."""


@dataclass(frozen=True)
class Target:
    """Where and how trials run."""

    address: str | None = None
    """Ray cluster; None is a Ray of this machine."""
    max_concurrent: int | None = None
    """Trials at a time; None takes the file's."""
    fit: str = ENGINE
    """``module:function`` that runs a trial."""
    retry_failed: bool = False
    """Whether trials that failed are run again."""
    storage: str = ""
    """Folder of the studies, as the user gave it."""


@dataclass(frozen=True)
class Ran:
    """How the running of trials ended."""

    exit_code: int | None = None
    """130 or 143 after an interruption, else None."""
    tracker: Tracker | None = None
    """Tells MLflow; still at work."""
    problem: str | None = None
    """Why no further trial could begin: the storage failed."""


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
    kept, problem = store.read_study(), None
    new = kept is None
    if new:  # what is wrong with it is told before anything is written
        _prepare(study)
    try:
        with lease(store.objects, partial(say, console)):
            stages = Stages(study, store, _history(study, store, target, console), partial(say, console))
            ran, left, outdated = Ran(), stages.next(), False
            if left is None:
                say(console, f"Study {study.spec.study} is finished: nothing is left to run.")
                stages.register()
                outdated = kept is None or kept.specification != study.resolved()
                if outdated:
                    store.write_study(study.resolved(), from_env=study.from_env)
                behind = is_behind(store, tracking_uri(study.spec.tracking.uri))
                ran = Ran(tracker=_tracker(study, store, stages.known) if behind else None)
            else:
                if not new:
                    _prepare(study)
                ran = _run(study, stages, left, store, console, replace(target, storage=storage))
            records = stages.belonging(store.records())
            places: dict[str, str] = {}
            try:
                places = _keep(study, store, records, stages.champion())
            except OSError as error:
                if ran.problem is None:  # else that is told below
                    raise
                say(console, f"No results are written: {' '.join(str(error).split())}")
            if (
                ran.exit_code is None
                and ran.problem is None
                and (left or outdated or not store.objects.files(layout.REPORT))
            ):
                places |= _report(store, console)
            if ran.tracker:
                problem = _close(ran.tracker, store, study, records, ran)
                places |= {"page": ran.tracker.page} if ran.tracker.page else {}
    except OSError as error:
        raise InputError(f"--storage {storage}: cannot be used: {' '.join(str(error).split())}") from error
    print_summary(console, study, records, stages.plans, seconds=time.monotonic() - began, places=places)
    if problem:
        say(console, problem)
    return _exit_code(ran, records, console, command)


def _prepare(study: Study) -> None:
    """Check the models, and bring weights and data here once, before many trials would do so at the same time."""
    check_models(study)
    fetch_weights(study)
    cache_data(study)


def _exit_code(ran: Ran, records: Sequence[Record], console: Console, command: str) -> int:
    if ran.exit_code is not None:
        say(console, f"\nInterrupted. Continue with:  {command}")
        return ran.exit_code
    if ran.problem is not None:
        say(console, f"\nStopped: {ran.problem}. Once that is mended, continue with:  {command}")
        return 3
    if any(record.state is State.FAILED for record in records):
        say(console, f"\nRun the failed trials again with:  {command} --retry-failed")
        return 3
    return 0 if all(record.state.final for record in records) else 3


def _history(study: Study, store: Store, target: Target, console: Console) -> History:
    """What earlier launches and other studies left; damaged files are named before anything starts."""
    history = read_history(study, store, retry_failed=target.retry_failed)
    imported, notes = import_trials(study, store, (*history.records, *history.outside))
    for line in (*history.notes, *notes, *(f"warning: {warning}" for warning in store.warnings)):
        say(console, line)
    store.warnings.clear()
    return replace(history, records=(*imported, *history.records))


def _run(study: Study, stages: Stages, left: Round, store: Store, console: Console, target: Target) -> Ran:
    from orchestrator.run.cluster import cluster, slots  # late: a finished study needs no Ray

    resources = study.spec.resources
    if target.max_concurrent is not None:
        resources = resources.model_copy(update={"max_concurrent": target.max_concurrent})
    with cluster(target.address, resources.stop_grace_s):
        from orchestrator.run.nodes import check_nodes
        from orchestrator.run.tuner import run

        settings = study.spec.tracking
        tracked = tracking_uri(settings.uri) if settings.enabled else None
        check_nodes(store, storage=target.storage, tracking_uri=tracked)
        concurrency = slots(resources)
        kept = store.read_study()
        fingerprints = check_data_unchanged(study, kept.data if kept else {})
        rare = rare_class_names(study, known=kept.rare_classes if kept else {})
        store.write_study(study.resolved(), fingerprints, study.from_env, rare)
        stages.register()
        tracker = _tracker(study, store, stages.known)
        execute = partial(
            run,
            store=store,
            resources=resources,
            concurrency=concurrency,
            fit=target.fit,
            system_metrics=settings.measures_machine(resources),
        )
        exit_code, problem = None, None
        following: Round | None = left
        while following is not None and exit_code is None and problem is None:
            stages.register()
            say(console, f"Study {study.spec.study}: {following.title}, {concurrency} at a time; {store.address}")
            progress = Progress(following.planner.total, following.epochs, study.spec.objectives[0], following.known)
            progress.stage = following.stage
            if tracker:
                progress.trouble = lambda: tracker.lag
            with build_display(progress, console) as display:
                listeners: list[Listener] = [stages, display, *([tracker] if tracker else [])]
                session = Session(following.planner, store, listeners, following.known, partial(say, console))
                exit_code = execute(session)
            problem = session.problem
            if exit_code is None and problem is None:
                following, problem = _following(stages)
    return Ran(exit_code, tracker, problem)


def _following(stages: Stages) -> tuple[Round | None, str | None]:
    """The next round, or why there cannot be one: its arms do not fit the winner."""
    try:
        return stages.next(), None
    except InputError as error:
        return None, str(error)


def _tracker(study: Study, store: Store, known: Sequence[Record]) -> Tracker | None:
    """MLflow's thread, told of every trial of earlier launches: it writes whatever they could not."""
    settings = study.spec.tracking
    if not settings.enabled:
        return None
    note_tracking(store, tracking_uri(settings.uri), complete=False)
    tracker = Tracker(tracking_uri(settings.uri), StudyInfo(store, store.launched_study(), partial(draw_data, study)))
    for record in known:
        tracker.update(record)
    return tracker


def _close(tracker: Tracker, store: Store, study: Study, records: Sequence[Record], ran: Ran) -> str | None:
    """End the runs; returns what MLflow could not take, in one line."""
    whole = ran.exit_code is None and ran.problem is None and all(record.state.final for record in records)
    problem = tracker.close(
        status="FINISHED" if whole else "KILLED",
        summary=final_metrics_of_study(records, study.spec.objectives[0]),
        patience=PATIENCE_S if ran.exit_code is None else STOPPED_PATIENCE_S,
    )
    with suppress(OSError):  # the storage failed: the next launch finds out by itself
        note_tracking(store, tracking_uri(study.spec.tracking.uri), complete=whole and problem is None)
    return f"{problem}. What is missing is sent by the next launch, or by  {track_command(store)}" if problem else None


def _keep(study: Study, store: Store, records: Sequence[Record], champion: Record | None) -> dict[str, str]:
    """Write the results; returns where everything lies."""
    places = {
        "study": store.address,
        "table": write_table(store, [shown(record, study.from_env) for record in records]),
    }
    objective = study.spec.objectives[0]
    if champion is not None:
        threads = threads_for(study.spec.resources.cpu)
        places["best"] = write_best(store, champion, study.spec.study, objective, threads)
    command = ui_command(tracking_uri(study.spec.tracking.uri))
    if study.spec.tracking.enabled and command is not None:
        places["runs"] = command
    return places


def _report(store: Store, console: Console) -> dict[str, str]:
    """Write the report; returns where it lies. Whatever goes wrong with it, the study has ended."""
    from orchestrator.report.build import write_report  # late: matplotlib and statsmodels take seconds to import

    try:
        return {"report": write_report(store)[0]}
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        say(console, f"No report: {reason}; try  python -m orchestrator.report {store.study}")
        return {}
