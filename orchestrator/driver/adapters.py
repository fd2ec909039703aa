"""Ray Tune's extension points, each a thin adapter to the session: searcher (ask, tell) and scheduler (prune)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from orchestrator.driver.capacity import Demand
from orchestrator.driver.cluster_watch import ClusterWatch
from orchestrator.driver.dispatch import Dispatch, Wait
from orchestrator.driver.limits import Limits
from orchestrator.driver.session import Session
from orchestrator.driver.sharing import Sharing, Start
from orchestrator.driver.stop import Stop
from orchestrator.driver.temporary import ray_obstacle
from orchestrator.store.trial_record import Planned
from orchestrator.worker.job import EpochDone, Interrupted, Job, WorkerOutcome
from trainable.evaluate.metrics.names import EPOCH_SECONDS

WHY_CHARS = 120
"""As much is shown of why a worker was lost while its trial goes on."""


@dataclass(frozen=True)
class MeasuredMemory:
    """How trials share GPUs by what they need of them."""

    sharing: Sharing
    probe: str
    """``module:function`` that measures it (``Job.probe``)."""


class PlannedSearcher(Searcher):
    """Gives Ray the session's next trial and the session Ray's verdicts.

    ``job_of`` completes what is the same for every worker of the launch with a trial, ``demand`` is what each occupies,
    or at most where ``sharing`` measures it.
    """

    def __init__(
        self,
        session: Session,
        job_of: Callable[[Planned], Job],
        demand: Demand,
        watch: ClusterWatch,
        limits: Limits,
        stop: Stop,
        *,
        retries: int = 0,
        memory: MeasuredMemory | None = None,
    ) -> None:
        super().__init__(metric=None, mode=None)
        self._session, self._stop = session, stop
        self._job_of, self._memory = job_of, memory
        self._dispatch = Dispatch(session, demand, watch, retries, memory.sharing if memory else None)
        self._watch, self._limits = watch, limits
        self._live: dict[str, Start] = {}
        self.keys: dict[str, str] = {}
        """A trial's key by Ray's name for the trial."""
        self.lost: dict[str, str] = {}
        """Why a trial lost its last worker, by Ray's name for the trial."""

    def suggest(self, trial_id: str) -> Any:
        """The next trial's configuration, or None for later; none begins once a stop was asked for.

        As many trials live as the cluster holds now. Of one that grows on demand, one more waits: it is the demand.
        """
        deadline, short = self._limits.deadline, self._lacks()
        if not self._live and not deadline.allows_a_trial():
            deadline.end(self._stop)
        if not self._live and short:
            self._session.give_up(short)
        if self._session.problem:
            self._dispatch.give_up(self._session.problem)
        if self._stop.requested or self._session.problem:
            return Searcher.FINISHED
        if short or not deadline.allows_a_trial():
            return None
        with self._stop.shield():
            start = self._dispatch.next([live.demand for live in self._live.values()])
        if isinstance(start, Wait):
            return Searcher.FINISHED if start is Wait.OVER else None
        self.keys[trial_id], self._live[trial_id] = start.planned.key, start
        self._limits.ledger.begin(trial_id, start.demand.gpu)
        return self._configuration(start)

    def _lacks(self) -> str | None:
        """What the budget lacks for the next trial."""
        if not self._limits.budget.limits_anything:  # else every result would look at every trial
            return None
        session, slots = self._session, self._watch.slots
        return self._limits.budget.lacks(session.need, session.live_epochs, slots=slots, live=len(self._live))

    def _configuration(self, start: Start) -> dict[str, Any]:
        """What a worker is given, and what Ray is asked for where not every trial asks for the same."""
        job = self._job_of(start.planned)
        if start.demand.gpu == 0:
            return {"job": job}
        probe = None if start.measures is None or self._memory is None else self._memory.probe
        if self._memory or start.rung != "shared":
            job = replace(job, gpu=start.demand.gpu, rung=start.rung, probe=probe)
        return {"job": job, "bundle": start.demand.bundle}

    def moved(self, trial_id: str) -> dict[str, Any] | None:
        """What a trial's next worker is given where the node is gone that its share was worked out for."""
        start = self._live[trial_id]
        others = [live.demand for name, live in self._live.items() if name != trial_id]
        if start.demand.node is None or self._watch.has_room([], start.demand):
            return None
        self._live[trial_id] = elsewhere = self._dispatch.elsewhere(start, others)
        return self._configuration(elsewhere)

    def on_trial_result(self, trial_id: str, result: dict[str, WorkerOutcome]) -> None:
        """Results that are not a trial's last come through the scheduler."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, WorkerOutcome] | None = None, error: bool = False
    ) -> None:
        """Take the trial's end: its last epoch, an early stop, its own failure, a GPU without memory, a lost worker."""
        start = self._live.pop(trial_id)
        with self._stop.shield():
            if error or result is None:
                self._lose(start, self.lost.get(trial_id, "Ray does not say why"))
            else:
                if isinstance(outcome := result["outcome"], EpochDone) and outcome.last:  # the scheduler saw the others
                    self.note_epoch(trial_id, outcome)
                self._dispatch.take(start, outcome)
        self._limits.ledger.end(trial_id)

    def note_epoch(self, trial_id: str, done: EpochDone) -> None:
        """Take that an epoch was kept, for whoever asks whether there is time for more, or how much memory it took."""
        self._stop.progressed = True
        seconds = done.metrics.get(EPOCH_SECONDS)
        self._limits.ledger.saw_epoch(trial_id, done.began.node if done.began else "", seconds)
        self._limits.deadline.saw_epoch(seconds)
        if trial_id in self._live:  # of its last epoch the dispatch hears as of its end
            self._dispatch.note(self._live[trial_id], done)

    def _lose(self, start: Start, why: str) -> None:
        obstacle = ray_obstacle()
        if obstacle and start.measures is None:  # no worker lives where Ray cannot write: the trial is not to blame
            self._session.end(start.planned.key, Interrupted(f"its worker was lost: {why}; {obstacle}"))
        else:
            self._dispatch.lose(start, f"its worker was lost, and no retry is left: {why}")

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the records hold all that is known."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: every launch derives its state from the records."""

    def __getstate__(self) -> dict[str, object]:
        return {}  # Ray pickles its Tuner for a restore that never comes


class PruningScheduler(FIFOScheduler):
    """First in, first out; stops the trials that the session's pruner gives up, and all when the study is stopped."""

    def __init__(self, session: Session, searcher: PlannedSearcher, stop: Stop) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._session, self._stop = session, stop
        self._searcher = searcher
        self._trials: dict[str, Trial] = {}

    @property
    def in_flight(self) -> int:
        """Trials whose worker is at an epoch; may be asked in any thread."""
        return sum(trial.status == Trial.RUNNING for trial in list(self._trials.values()))

    def on_trial_add(self, tune_controller: object, trial: Trial) -> None:  # noqa: ARG002
        """Remember the trial, once: Ray adds it again for each further worker."""
        self._trials[trial.trial_id] = trial

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, WorkerOutcome]) -> str:  # noqa: ARG002
        """Take an epoch and decide whether the trial goes on."""
        outcome = result["outcome"]
        assert isinstance(outcome, EpochDone)  # Ray asks no scheduler of a result with which a trial ends
        self._searcher.note_epoch(trial.trial_id, outcome)
        with self._stop.shield():
            ends = self._session.epoch(self._searcher.keys[trial.trial_id], outcome) or self._stop.requested
        return str(TrialScheduler.STOP if ends else TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:  # noqa: ARG002
        """Tell why a worker was lost; the searcher hears of it where no retry is left."""
        why = self._searcher.lost[trial.trial_id] = _last_failure(trial)
        if trial.should_recover():  # type: ignore[no-untyped-call]
            told = why if len(why) <= WHY_CHARS else f"{why[:WHY_CHARS]}..."
            self._stop.say(f"{self._searcher.keys[trial.trial_id]}: its worker was lost, another goes on: {told}")
            moved = self._searcher.moved(trial.trial_id)
            if moved is not None:
                trial.config.update(moved)
                trial.update_resources(tune.PlacementGroupFactory([moved["bundle"]]))

    def __getstate__(self) -> dict[str, object]:
        return {}  # as above


class LoopEnd(Stopper):
    """Ends Ray Tune's loop once a stop was asked for and no epoch is in flight."""

    def __init__(self, stop: Stop, scheduler: PruningScheduler) -> None:
        self._stop, self._scheduler = stop, scheduler

    def __call__(self, trial_id: str, result: dict[str, object]) -> bool:  # noqa: ARG002
        """No trial: that is the scheduler's matter."""
        return False

    def stop_all(self) -> bool:
        """Whether nothing is worth waiting for."""
        return self._stop.requested and not self._scheduler.in_flight

    def __getstate__(self) -> dict[str, object]:
        return {}  # as above


def _last_failure(trial: Trial) -> str:
    """The telling line of what Ray wrote down of a trial's last failure: of a traceback the last, else the first."""
    try:
        lines = Path(trial.error_file or "").read_text(errors="replace").splitlines()
    except OSError:  # the temporary folder was full, or is gone
        lines = []
    starts = [index for index, line in enumerate(lines) if line.startswith("Failure #")]
    block = [line.strip() for line in lines[starts[-1] + 1 if starts else 0 :] if line.strip()]
    if not block:
        return "Ray does not say why"
    return block[-1 if any("Traceback" in line or "File " in line for line in block) else 0]
