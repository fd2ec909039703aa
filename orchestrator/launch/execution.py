"""The rounds of one launch: their trials run one round after the other."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Self

from orchestrator.driver.limits import Limits
from orchestrator.driver.session import Listener, Session
from orchestrator.errors import InputError
from orchestrator.launch.open_study import OpenStudy
from orchestrator.launch.refusals import problem_of
from orchestrator.launch.results import shown_record
from orchestrator.launch.rounds import Round
from orchestrator.store.ranking import best
from orchestrator.store.spending import HOUR_S
from orchestrator.store.stage_plan import STAGES, StagePlan
from orchestrator.store.trial_record import Record, State
from orchestrator.terminal.beside import Rival
from orchestrator.terminal.console import say
from orchestrator.terminal.display import build_display
from orchestrator.terminal.progress import Progress
from orchestrator.tracking import TrackerApart

if TYPE_CHECKING:
    from orchestrator.driver.cluster_watch import ClusterWatch


@dataclass(frozen=True)
class RunOutcome:
    """How the running of trials ended."""

    interrupted: bool = False
    """Whether a stop was asked for while there was something left to run."""
    problem: str | None = None
    """Why no further trial could begin: the storage failed, or arms do not fit the winner."""
    tracker: TrackerApart | None = None
    """Tells MLflow; still at work."""
    changed: bool = True
    """Whether trials ran, or the study file differs from the one of the launch before."""

    @property
    def undisturbed(self) -> bool:
        """Whether everything ran that could."""
        return not self.interrupted and self.problem is None

    def disturbed_by(self, error: OSError) -> Self:
        """The outcome with a failure of the storage or of a machine as its problem, unless it has one."""
        return replace(self, problem=self.problem or problem_of(error))


def run_rounds(
    opened: OpenStudy,
    following: Round | None,
    tracker: TrackerApart | None,
    limits: Limits,
    watch: "ClusterWatch",
    execute: Callable[[Session], None],
) -> RunOutcome:
    """Run round after round, until none is left or one does not come to its end."""
    ran = False
    while following is not None:
        title = f"{following.title}, {watch.slots} at a time; {opened.store.address}"
        say(opened.console, f"Study {opened.study.spec.study}: {title}")
        try:
            outcome = _run_round(opened, following, tracker, limits, watch, execute)
            if not outcome.undisturbed:
                return outcome
            ran = True
            following = opened.stages.next()
            if following is not None and opened.stop.requested:
                return RunOutcome(interrupted=True, tracker=tracker)
            opened.stages.register()
        except InputError as error:  # its arms do not fit the winner
            return RunOutcome(problem=str(error), tracker=tracker)
        except OSError as error:
            if not ran:  # not a trial has begun
                raise
            return RunOutcome(tracker=tracker).disturbed_by(error)
    if tracker is not None:
        tracker.expect_end(_best(opened))
    return RunOutcome(tracker=tracker)


def _run_round(
    opened: OpenStudy,
    current: Round,
    tracker: TrackerApart | None,
    limits: Limits,
    watch: "ClusterWatch",
    execute: Callable[[Session], None],
) -> RunOutcome:
    """Run the trials of a round."""
    progress = _progress(opened, current, tracker, limits, watch)
    limits.budget.missing = lambda: missing(opened, current, progress.count(State.COMPLETE, State.PRUNED, State.FAILED))
    with build_display(progress, opened.console) as display:
        opened.stop.lastly(partial(display.__exit__, None, None, None))
        shown = Masked(display, opened)
        listeners: list[Listener] = [opened.stages, shown]
        if tracker is not None:
            listeners += (tracker, LastTrials(opened, current, tracker))
        session = Session(current.planner, opened.store, listeners, current.known, partial(say, opened.console))
        execute(session)
    return RunOutcome(opened.stop.requested and not session.whole, session.problem, tracker)


@dataclass(frozen=True)
class Masked:
    """Shows a display no values of ``${NAME}``."""

    display: Listener
    opened: OpenStudy

    def update(self, record: Record) -> None:
        """Show it a trial as it may be shown."""
        self.display.update(shown_record(self.opened, record))


@dataclass
class LastTrials:
    """Has MLflow's end prepared once a slot falls idle: no other trial is left to begin."""

    opened: OpenStudy
    current: Round
    tracker: TrackerApart
    told: bool = False

    def update(self, record: Record) -> None:
        """Take a trial's latest record."""
        if record.state.final and not self.told and self.current.planner.exhausted and self._last_round:
            self.told = True
            self.tracker.expect_end(_best(self.opened))

    @property
    def _last_round(self) -> bool:
        """Whether no other round can follow; looks and paths decide that only later."""
        plan = _plan(self.opened, self.current)
        one_round = not self.current.label and (plan is None or (plan.looks is None and plan.design != "path"))
        return one_round and self.current.stage == _stages(self.opened)[-1]


def _progress(
    opened: OpenStudy, current: Round, tracker: TrackerApart | None, limits: Limits, watch: "ClusterWatch"
) -> Progress:
    """What is shown of a round."""
    spec, stages, plan = opened.study.spec, _stages(opened), _plan(opened, current)
    objective = spec.objectives[0]
    rival = Rival(plan.baseline, objective) if plan else Rival.among(spec.search.references, objective)
    place = stages.index(current.stage) + 1
    return Progress(
        current.planner.total,
        current.epochs,
        objective,
        [shown_record(opened, record) for record in current.known],
        lambda: tracker.lag if tracker else None,
        current.label or current.stage,
        current.inherited,
        lambda: _used(opened, limits, watch),
        place=f"{place} of {len(stages)}" if len(stages) > 1 else "",
        later=" and ".join(stages[place:]),
        rival=rival,
    )


def _plan(opened: OpenStudy, current: Round) -> StagePlan | None:
    """What the stage of a round compares by; None of a search."""
    return next((plan for stage, plan in opened.stages.plans.items() if stage == current.stage), None)


def _best(opened: OpenStudy) -> Record | None:
    """The best trial by now."""
    return best(opened.stages.known, opened.study.spec.objectives[0])


def _stages(opened: OpenStudy) -> list[str]:
    """The stages of the study, in order."""
    searches = ["search"] if opened.study.spec.searched else []
    return [*searches, *(stage for stage in STAGES if opened.study.spec.compares(stage))]


def missing(opened: OpenStudy, current: Round, ended: int) -> str:
    """What of a round, and of the stages after it, is not run yet, in words."""
    later = [stage for stage in STAGES if opened.study.spec.compares(stage)]
    if current.stage in later:
        later = later[later.index(current.stage) + 1 :]
    beyond = f", and all of the {' and the '.join(later)}" if later else ""
    total = current.planner.total
    return f"{total - ended} of {total} trials of the {current.label or current.stage} are missing{beyond}"


def _used(opened: OpenStudy, limits: Limits, watch: "ClusterWatch") -> str | None:
    """GPUs at work and GPU-hours used, or the hours of a budget, for the progress line."""
    section, spent = opened.study.spec.budget, limits.ledger.spent
    parts = []
    if spent.gpu_seconds:
        count = sum(int(node.get("GPU", 0)) for node in watch.nodes)
        limit = "" if section.gpu_hours is None else f" of {section.gpu_hours:g}"
        parts.append(f"{count} GPU{'s' * (count != 1)}, {spent.gpu_hours:.3g}{limit} GPU-hours")
    if section.hours is not None:
        parts.append(f"{spent.seconds / HOUR_S:.3g} of {section.hours:g} hours")
    return ", ".join(parts) or None
