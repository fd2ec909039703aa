"""Ray Tune's extension points, each a thin adapter to the session: searcher (ask, tell) and scheduler (prune)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from orchestrator.run.capacity import Demand
from orchestrator.run.cluster_watch import ClusterWatch
from orchestrator.run.limits import Limits
from orchestrator.run.session import Session
from orchestrator.run.stop import Stop
from orchestrator.run.temporary import ray_obstacle
from orchestrator.store.trial_record import Planned
from orchestrator.worker.job import EpochDone, Interrupted, Job, Outcome
from trainable.evaluate.metrics.names import EPOCH_SECONDS

WHY_CHARS = 120
"""As much is shown of why a worker was lost while its trial goes on."""


class PlannedSearcher(Searcher):
    """Gives Ray the session's next trial and the session Ray's verdicts.

    ``job_of`` completes what is the same for every worker of the launch with a trial, ``demand`` is what each occupies.
    """

    def __init__(
        self,
        session: Session,
        job_of: Callable[[Planned], Job],
        demand: Demand,
        watch: ClusterWatch,
        limits: Limits,
        stop: Stop,
    ) -> None:
        super().__init__(metric=None, mode=None)
        self._session, self._stop = session, stop
        self._job_of, self._demand = job_of, demand
        self._watch, self._limits = watch, limits
        self._live: dict[str, Demand] = {}
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
        if self._stop.requested or self._session.problem:
            return Searcher.FINISHED
        if short or not deadline.allows_a_trial() or not self._has_room():
            return None
        with self._stop.shield():
            planned = self._session.start()
        if planned is None:
            return Searcher.FINISHED
        self.keys[trial_id], self._live[trial_id] = planned.key, self._demand
        self._limits.ledger.begin(trial_id, self._demand.gpu)
        return {"job": self._job_of(planned)}

    def _lacks(self) -> str | None:
        """What the budget lacks for the next trial."""
        session, slots = self._session, self._watch.slots
        return self._limits.budget.lacks(session.need, session.live_epochs, slots=slots, live=len(self._live))

    def _has_room(self) -> bool:
        live = list(self._live.values())
        if self._watch.has_room(live, self._demand):
            return True
        return self._watch.may_grow_for(self._demand) and (not live or self._watch.has_room(live[:-1], self._demand))

    def on_trial_result(self, trial_id: str, result: dict[str, Outcome]) -> None:
        """Results that are not a trial's last come through the scheduler."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Outcome] | None = None, error: bool = False) -> None:
        """Take the trial's end: its last epoch, an early stop, its own failure or a lost worker."""
        key = self.keys[trial_id]
        self._live.pop(trial_id, None)
        self._limits.ledger.end(trial_id)
        with self._stop.shield():
            if error or result is None:
                self._lose(key, self.lost.get(trial_id, "Ray does not say why"))
            else:
                if isinstance(outcome := result["outcome"], EpochDone) and outcome.last:  # the scheduler saw the others
                    self.note_epoch(trial_id, outcome)
                self._session.end(key, outcome)

    def note_epoch(self, trial_id: str, done: EpochDone) -> None:
        """Take that an epoch was kept, for whoever asks whether there is time for more."""
        self._stop.progressed = True
        self._limits.ledger.saw_epoch(trial_id, done.began.node if done.began else "")
        self._limits.deadline.saw_epoch(done.metrics.get(EPOCH_SECONDS))

    def _lose(self, key: str, why: str) -> None:
        obstacle = ray_obstacle()
        if obstacle:  # no worker lives where Ray cannot write: the trial is not to blame
            self._session.end(key, Interrupted(f"its worker was lost: {why}; {obstacle}"))
        else:
            self._session.lose(key, f"its worker was lost, and no retry is left: {why}")

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
        self._trials: list[Trial] = []

    @property
    def in_flight(self) -> int:
        """Trials whose worker is at an epoch; may be asked in any thread."""
        return sum(trial.status == Trial.RUNNING for trial in self._trials)

    def on_trial_add(self, tune_controller: object, trial: Trial) -> None:  # noqa: ARG002
        """Remember the trial."""
        self._trials.append(trial)

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Outcome]) -> str:  # noqa: ARG002
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
