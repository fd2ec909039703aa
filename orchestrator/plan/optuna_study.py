"""Optuna's study of a search. It lives in memory and is rebuilt from the records at every launch."""

import logging
import warnings
from collections.abc import Mapping
from functools import partial
from typing import assert_never

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import TrialState, create_trial

from orchestrator.plan.optuna_internals import running_trial, system_attrs
from orchestrator.plan.samplers import build_pruner, distribution
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Choice, Domain, Float, Int, Study, Value
from trainable.configfile.node import JsonObject

JUDGED = "orchestrator:judged_epochs"
"""Among the notes on an unfinished trial: epochs that the pruner has let pass."""

_OUTCOMES = {State.COMPLETE: TrialState.COMPLETE, State.PRUNED: TrialState.PRUNED, State.FAILED: TrialState.FAIL}


class OptunaStudy:
    """What Optuna knows of a study's trials."""

    def __init__(self, study: Study) -> None:
        self._space, self._objectives = study.space, study.spec.objectives
        self._domains = {name: domain for name, domain, _ in study.space.domains()}
        self._prunes = study.spec.search.pruner is not None
        self._live: dict[str, optuna.Trial] = {}
        self._reported: dict[str, set[int]] = {}
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        logging.getLogger("optuna").propagate = False
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self.study = optuna.create_study(
            study_name=study.spec.study,
            directions=["maximize" if objective.mode == "max" else "minimize" for objective in self._objectives],
            pruner=build_pruner(study.spec.search.pruner, study.space),
        )
        """The study itself."""

    def add(self, record: Record) -> None:
        """Tell of a trial of an earlier launch; one of the search that is not final goes on."""
        planned, state = record.planned, _OUTCOMES.get(record.state, TrialState.RUNNING)
        picks, metric = planned.picks or {}, self._objectives[0].metric
        steps = {epoch: m[metric] for epoch, m in enumerate(record.epochs, start=1) if metric in m}
        self.study.add_trial(
            create_trial(
                state=state,
                values=self._values(record) if state is TrialState.COMPLETE else None,
                params=dict(picks),
                distributions={name: distribution(self._domains[name]) for name in picks},
                intermediate_values=steps if len(self._objectives) == 1 and state.is_finished() else {},
                system_attrs=dict(planned.system_attrs),
                user_attrs={"key": record.key},
            )
        )
        if planned.kind == "search" and not record.state.final:
            self._live[planned.key] = running_trial(self.study)

    def ask(self, sampler: BaseSampler, cell: Mapping[str, Value] | None) -> tuple[optuna.Trial, dict[str, Value]]:
        """A new Optuna trial and its picks: those of ``cell`` if given, else what the sampler suggests.

        ``start`` or ``discard`` must follow.
        """
        if cell is not None:
            self.study.enqueue_trial(dict(cell))
        self.study.sampler = sampler
        trial = self.study.ask()
        self._space.resolve(partial(_suggest, trial))
        return trial, trial.params

    def discard(self, trial: optuna.Trial) -> None:
        """Drop what was asked for."""
        self.study.tell(trial, state=TrialState.FAIL)

    def start(self, key: str, trial: optuna.Trial) -> JsonObject:
        """Run what was asked for under a key; returns Optuna's notes on it."""
        trial.set_user_attr("key", key)
        self._live[key] = trial
        return system_attrs(trial)

    def report(self, planned: Planned, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Decide by the pruner whether a trial stops early, after an epoch that is not its last."""
        trial = self._reported_trial(planned, epoch, metrics)
        return trial is not None and bool(trial.should_prune())

    def stops(self, record: Record) -> bool:
        """Whether a trial was to stop whose worker went on while nobody listened.

        A worker begins an epoch when it is asked to, so all but its last one had been judged when they ended. These
        are not judged again: meanwhile other trials have ended, with which they were not compared.
        """
        planned, noted = record.planned, record.planned.system_attrs.get(JUDGED)
        judged_before = noted if isinstance(noted, int) else 0
        stop = False
        for epoch, metrics in enumerate(record.epochs[: planned.epochs - 1], start=1):
            if epoch > judged_before:
                stop = self.report(planned, epoch, metrics)
            else:
                self._reported_trial(planned, epoch, metrics)
        return stop

    def notes(self, planned: Planned) -> JsonObject:
        """What a later launch needs to know of an unfinished trial: Optuna's notes, and what was judged."""
        trial = self._live.get(planned.key)
        if trial is None:
            return dict(planned.system_attrs)
        return system_attrs(trial) | {JUDGED: max(self._reported.get(planned.key, ()), default=0)}

    def tell(self, record: Record) -> JsonObject:
        """Tell how a trial ended; returns Optuna's notes on it. Of the others complete ones with picks are told."""
        trial = self._live.pop(record.key, None)
        if trial is None:
            if record.planned.picks is not None and record.state is State.COMPLETE:
                self.add(record)
            return {}
        values = self._values(record) if record.state is State.COMPLETE else None
        if values is not None and len(values) == 1:
            trial.report(values[0], len(record.epochs))
        self.study.tell(trial, values, _OUTCOMES[record.state])
        return system_attrs(trial)

    def _reported_trial(self, planned: Planned, epoch: int, metrics: Mapping[str, float]) -> optuna.Trial | None:
        """The trial after the pruner was told of an epoch; None where it is not to be asked."""
        trial, value = self._live.get(planned.key), metrics.get(self._objectives[0].metric)
        reported = self._reported.setdefault(planned.key, set())  # also by workers that were lost since
        # a value that is undefined in an epoch (a class that occurs nowhere) is nothing to judge by
        if trial is None or not self._prunes or value is None or epoch in reported:
            return None
        reported.add(epoch)
        trial.report(value, epoch)
        return trial

    def _values(self, record: Record) -> list[float]:
        return [record.epochs[-1][objective.metric] for objective in self._objectives]


def _suggest(trial: optuna.Trial, name: str, domain: Domain) -> Value:
    match domain:
        case Float():
            return trial.suggest_float(name, domain.low, domain.high, step=domain.step, log=domain.log)
        case Int():
            return trial.suggest_int(name, domain.low, domain.high, step=domain.step, log=domain.log)
        case Choice():
            return trial.suggest_categorical(name, domain.labels)
        case _:
            assert_never(domain)
