"""One launch of a study: from the loaded file to the summary."""

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from functools import partial

from rich.console import Console

from orchestrator.driver.limits import Limits
from orchestrator.driver.stop import Stop
from orchestrator.errors import InputError, one_line
from orchestrator.launch.data_sets import Looked, draw_data, look_through
from orchestrator.launch.execution import RunOutcome, missing, run_rounds
from orchestrator.launch.findings import findings_of
from orchestrator.launch.foreseen import foreseen
from orchestrator.launch.history import keep_retried
from orchestrator.launch.launch_note import keep_launch
from orchestrator.launch.notices import EndNotice, end_told
from orchestrator.launch.open_study import OpenStudy, open_history
from orchestrator.launch.own_parts import hashes_of, travelling
from orchestrator.launch.page_notice import PageNotice
from orchestrator.launch.preflight import open_store
from orchestrator.launch.preparation import prepare
from orchestrator.launch.refusals import latest_records, refusals
from orchestrator.launch.results import Places, shown_record, written_results
from orchestrator.launch.rounds import Round
from orchestrator.launch.study_report import StudyReport
from orchestrator.store.commands import of_study, retrying
from orchestrator.store.kept_weights import keep_weights
from orchestrator.store.lease import StudyHeldError, holder, lease, wait_until_free
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Study
from orchestrator.terminal.console import announced, open_console, say
from orchestrator.terminal.summary import Findings, print_summary
from orchestrator.tracking import LoadingProcess, StudyInfo, TrackerApart, tracking_uri
from orchestrator.tracking.address_check import check_tracking
from orchestrator.tracking.destination import is_behind, note_tracking, noted_page, track_command
from orchestrator.tracking.ending import EndOfRuns

ENGINE = "trainable.train.engine:fit"
"""What runs a trial: ``module:function``, a generator of epoch results."""
PROBE = "trainable.train.peak:measure_peak"
"""What measures a trial's peak of GPU memory."""


@dataclass(frozen=True)
class Target:
    """Where and how trials run."""

    address: str | None = None
    """Ray cluster; None is that of this job, else a Ray of this machine."""
    max_concurrent: int | None = None
    """Trials at a time; None takes the file's."""
    fit: str = ENGINE
    """``module:function`` that runs a trial."""
    probe: str = PROBE
    """``module:function`` that measures the memory of one."""
    retry_failed: bool = False
    """Whether trials that failed are run again."""
    wait: bool = True
    """Whether a study that another launch runs is waited for."""
    until: float = math.inf
    """When the launch has to have ended, in seconds since 1970."""


@dataclass(frozen=True)
class Ended:
    """What a launch has to tell once its lease is released."""

    outcome: RunOutcome
    records: Sequence[Record]
    runs: Sequence[Record]
    """Records without the prefixes that runs share."""
    results: Places
    findings: Findings
    """What the statistics say."""
    missing: str | None
    """What MLflow could not take."""


def launch(study: Study, *, storage: str, target: Target, command: str, stop: Stop | None = None) -> int:
    """Run what is left of a study; returns the exit code. ``command`` continues it, ``stop`` owns the signals.

    Raises:
        InputError: Something the user can mend; nothing was written.
        KeyboardInterrupt: A signal asked to stop before the first trial.
        TryAgain: Another moment may allow it.
    """
    with stop or Stop(command) as owner, end_told(study, owner, command) as notice:
        code = _launch(study, storage, target, command, owner, notice)
        notice.send(code)
        return code


def _launch(study: Study, storage: str, target: Target, command: str, stop: Stop, notice: EndNotice) -> int:
    began = time.monotonic()
    console = open_console()
    stop.say = partial(say, console)
    with announced(console, f"Opening {storage}"):
        store = open_store(study, storage)
    with announced(console, "Asking MLflow whether it answers"):
        warning = check_tracking(study)
    if warning is not None:
        say(console, warning)
    with refusals(storage):
        prepared = store.read_study() is None or (target.wait and holder(store.objects) is not None)
        if prepared:  # what is wrong with it is told before anything is written or waited for
            notice.check()
            prepare(study, console)
        ended = None
        while ended is None:
            silent = wait_until_free(store.objects, stop.say, wait=target.wait)
            with suppress(StudyHeldError), stop.shielded(lease(store.objects, stop.say, silent)) as release:
                stop.lastly(release)
                with announced(console, "Reading what earlier launches left"):
                    opened = open_history(study, store, console, stop, retry_failed=target.retry_failed)
                ended = _run_what_is_left(opened, storage, target, command, notice, prepared=prepared)
    results, seconds, findings = ended.results, time.monotonic() - began, ended.findings
    records = [shown_record(opened, record) for record in ended.records]
    print_summary(console, study, records, opened.stages.plans, seconds=seconds, results=results, findings=findings)
    problem = stop.why or ended.outcome.problem
    notice.take(records, results, findings.answers, problem=problem, seconds=seconds)
    if ended.missing:
        say(console, ended.missing)
    return _exit_code(ended.outcome, ended.runs, console, command, stop)


def _run_what_is_left(
    opened: OpenStudy, storage: str, target: Target, command: str, notice: EndNotice, *, prepared: bool
) -> Ended:
    """Run the trials that are left, and write down what came of them."""
    with announced(opened.console, "Working out what is left to run"):
        first_round = opened.stages.next()
    notice.due = first_round is not None
    if first_round is not None and not prepared:
        notice.check()
        prepare(opened.study, opened.console)
    with ExitStack() as ray:
        outcome = _run(opened, first_round, storage, target, ray) if first_round else _bring_up_to_date(opened, ray)
        records, trouble = latest_records(opened.store, opened.stages)
        outcome = outcome.disturbed_by(trouble) if trouble else outcome
        outcome, results, report = _write_results(opened, records, outcome)
        runs = [record for record in records if not record.planned.starts]  # of a prefix its heirs tell the end
        end = _end_of_runs(opened, runs, outcome)
    findings = findings_of(opened, command)
    with announced(opened.console, "Drawing the report"):
        results["report"] = report.join() if report else None
    with announced(opened.console, "Sending MLflow what is left"):
        missing = _finish_tracking(opened, end)
    page = outcome.tracker.page if outcome.tracker else None
    page = page or noted_page(opened.store, opened.study.spec.tracking)
    return Ended(outcome, records, runs, {**results, "page": page}, findings, missing)


def _bring_up_to_date(opened: OpenStudy, launch: ExitStack) -> RunOutcome:
    """Keep the file of a finished study as it is now written, and tell MLflow what it lacks."""
    study, store = opened.study, opened.store
    opened.stop.settle()
    say(opened.console, f"Study {study.spec.study} is finished: nothing is left to run.")
    opened.stages.register()
    kept = store.read_study()
    outdated = kept is None or kept.specification != study.resolved()
    if outdated:
        store.write_study(study.resolved(), from_env=study.from_env)
    behind = is_behind(store, tracking_uri(study.spec.tracking.uri))
    return RunOutcome(tracker=_tracker(opened, launch) if behind else None, changed=outdated)


def _run(opened: OpenStudy, first_round: Round, storage: str, target: Target, ray: ExitStack) -> RunOutcome:
    """Run what is left on a cluster, which is left with ``ray``: what came of it is written down before."""
    from orchestrator.driver.cluster import cluster  # late: a finished study needs no Ray
    from orchestrator.driver.own_ray import preloaded

    study, store = opened.study, opened.store
    limits = Limits.of(study.spec.budget, store, target.until)
    ended = sum(record.state.final for record in first_round.known)
    limits.budget.missing = lambda: missing(opened, first_round, ended)
    if (short := _unpaid(first_round, limits)) is not None:
        if store.read_study() is None:
            raise InputError(f"{study.path}: {short}")
        return RunOutcome(problem=short, changed=False)
    resources, settings = study.spec.resources, study.spec.tracking
    if target.max_concurrent is not None:
        resources = resources.model_copy(update={"max_concurrent": target.max_concurrent})
    announcing = partial(announced, opened.console)
    preload = preloaded(resources, target.fit, first_round.planner.total - ended)
    mlflow = ray.enter_context(closing(LoadingProcess())) if settings.enabled else None
    looking = look_through(study, store.read_study())
    modules = ray.enter_context(travelling(study))
    watch = ray.enter_context(cluster(target.address, resources, opened.stop, announcing, modules, preload))
    with announcing("Loading Ray Tune"):
        from orchestrator.driver.nodes import check_nodes, wait_for_a_node
        from orchestrator.driver.tuner import run

    with announcing("Asking the nodes of the cluster whether they see the storage"):
        check_nodes(store, storage=storage, tracking_uri=tracking_uri(settings.uri) if settings.enabled else None)
    if not opened.console.is_terminal:  # whoever reads a log cannot see the display
        say(opened.console, f"status  {of_study('orchestrator.status', store.study, store.storage)}")
    with announced(opened.console, "Waiting for a node that holds a trial"):
        wait_for_a_node(watch, resources, opened.stop.say)
    with announced(opened.console, "Looking through the data"):
        _keep_study(opened, looking.result())
    tracker, known = _tracker(opened, ray, mlflow), noted_page(store, settings)
    measured = settings.measures_machine(resources)
    machine = partial(run, resources=resources, watch=watch, limits=limits, system_metrics=measured)
    execute = partial(machine, store=store, fit=target.fit, probe=target.probe, stop=opened.stop)
    opened.stop.settle()
    page = PageNotice(store, tracker, known, opened.stop.say)
    with closing(page), limits.watched(opened.stop, resources.stop_grace_s):
        return run_rounds(opened, first_round, tracker, limits, watch, execute)


def _unpaid(first_round: Round, limits: Limits) -> str | None:
    """What the budget lacks for the first trials, as many at a time as may be; what they have trained is paid."""
    begun = {record.key: len(record.epochs) for record in first_round.known}
    need = first_round.planner.need
    left = replace(need, epochs=max(0, need.epochs - sum(begun.get(key, 0) for key in need.keys)))
    return limits.budget.lacks(left, slots=left.trials)


def _keep_study(opened: OpenStudy, data: Looked) -> None:
    """Write down what is about to run: the study, its data, its plans."""
    study, store = opened.study, opened.store
    keep_weights(store, foreseen(study).models)
    store.write_study(study.resolved(), data.fingerprints, study.from_env, data.rare, hashes_of(study))
    keep_launch(opened)
    keep_retried(store, opened.stages.known)
    opened.stages.register()


def _tracker(opened: OpenStudy, launch: ExitStack, process: LoadingProcess | None = None) -> TrackerApart | None:
    """What tells MLflow, told of every trial of earlier launches: it writes whatever they could not.

    It ends where ``launch`` breaks off: the process that this runs in may live on, such as a notebook's.
    """
    settings, store = opened.study.spec.tracking, opened.store
    if not settings.enabled:
        return None
    note_tracking(store, tracking_uri(settings.uri), complete=False, page=noted_page(store, settings))
    info = StudyInfo(store, store.launched_study(), partial(draw_data, opened.study))
    tracker = TrackerApart(tracking_uri(settings.uri), info, process)
    break_off = partial(tracker.close, status="KILLED", summary={}, hurried=lambda: True)

    def ended(error: type[BaseException] | None, *_: object) -> None:
        if error is not None:
            break_off()

    opened.stop.lastly(break_off)
    launch.push(ended)
    for record in opened.stages.known:
        tracker.update(record)
    return tracker


def _write_results(
    opened: OpenStudy, records: Sequence[Record], outcome: RunOutcome
) -> tuple[RunOutcome, Places, StudyReport | None]:
    """Write tables and begin the report; returns an outcome that says what could not be written, and where all lies."""
    if outcome.tracker and outcome.tracker.page:  # the report links to it
        note_tracking(opened.store, outcome.tracker.uri, complete=False, page=outcome.tracker.page)
    try:
        whole, changed = outcome.undisturbed, outcome.changed
        return outcome, *written_results(opened, records, whole=whole, changed=changed)
    except OSError as error:
        say(opened.console, f"No results are written: {one_line(error)}")
        return outcome.disturbed_by(error), {}, None


def _end_of_runs(opened: OpenStudy, records: Sequence[Record], outcome: RunOutcome) -> EndOfRuns | None:
    """Begin to end MLflow's runs, while Ray is left and the report is drawn."""
    if outcome.tracker is None:
        return None
    stop, objective = opened.stop, opened.study.spec.objectives[0]
    whole = outcome.undisturbed and all(record.state.final for record in records)
    return EndOfRuns(outcome.tracker, opened.store, records, objective, whole=whole, hurried=lambda: stop.requested)


def _finish_tracking(opened: OpenStudy, end: EndOfRuns | None) -> str | None:
    """End MLflow's runs; returns what it could not take, in one line."""
    problem = end.wait() if end else None
    again = track_command(opened.store)
    return f"{problem}. What is missing is sent by the next launch, or by  {again}" if problem else None


def _exit_code(outcome: RunOutcome, records: Sequence[Record], console: Console, command: str, stop: Stop) -> int:
    if stop.exit_code is not None:
        say(console, f"\n{stop.end_in_words}. Continue with:  {command}")
        return stop.exit_code
    if outcome.problem is not None:
        say(console, f"\nStopped: {outcome.problem}. Once that is mended, continue with:  {command}")
        return 3
    if any(record.state is State.FAILED for record in records):
        say(console, f"\nRun the failed trials again with:  {retrying(command)}")
        return 3
    return 0 if all(record.state.final for record in records) else 3
