"""Ask and tell: turns a study and its records into the trials that are still to run.

The Optuna study lives in memory and is rebuilt from the records at every launch; nothing of it is kept elsewhere.
"""

import hashlib
import itertools
import logging
import math
import random
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from orchestrator.plan.samplers import build_pruner, build_sampler, distribution
from orchestrator.store.addresses import absolute
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Domain, Objective, Study, Value, reference
from orchestrator.studyfile.sections import search as section
from trainable.config import TrialConfig

MAX_ENUMERATED_CELLS = 10_000
"""A finite space up to this size is searched without repeating a configuration."""

JUDGED = "orchestrator:judged_epochs"
"""Among the notes on an unfinished trial: epochs that the pruner has let pass."""

_TOLD = {State.COMPLETE: TrialState.COMPLETE, State.PRUNED: TrialState.PRUNED, State.FAILED: TrialState.FAIL}


class Planner:
    """Decides which trial runs next and which one stops early.

    Args:
        study: The study.
        records: Every trial known from earlier launches. Finished ones are told to Optuna in the order of their
            numbers; the others are handed out first, under their own keys.
        outside: Earlier trials that do not lie in the search space: their keys and numbers are not used again.
    """

    def __init__(self, study: Study, records: Sequence[Record] = (), outside: Sequence[Record] = ()) -> None:
        self._study = study
        self._search = study.spec.search
        self._domains = {name: domain for name, domain, _ in study.space.domains()}
        self._cells = self._enumerate()
        self._budget = self._count()
        self._optuna = self._new_optuna_study()
        self._live: dict[str, optuna.Trial] = {}
        self._reported: dict[str, set[int]] = {}
        self._seen: set[str] = set()
        self._handed = 0
        numbers = {r.planned.number for r in (*records, *outside) if r.planned.kind == "search"}
        self._number = max(numbers, default=-1) + 1
        # trials that were planned and of which nothing readable is left
        self._gaps: deque[int] = deque(sorted(set(range(self._number)) - numbers))
        self._queue: deque[Planned] = deque(self._references(records, {record.key for record in outside}))
        for record in records:
            self._remember(record)

    @property
    def budget(self) -> int:
        """Search trials of the study: its budget, or all cells of a smaller finite space; imported ones not counted."""
        return self._budget

    @property
    def total(self) -> int:
        """All trials of the study, reference trials included."""
        return self._budget + len(self._search.references)

    @property
    def objective(self) -> Objective:
        """What trials are compared by; the first of several."""
        return self._study.spec.objectives[0]

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to hand out."""
        all_tried = self._cells is not None and len(self._seen) >= len(self._cells)
        return not self._queue and (self._handed >= self._budget or all_tried)

    def next(self) -> Planned | None:
        """The next trial, or None when all have been handed out."""
        if self._queue:
            return self._queue.popleft()
        if self.exhausted:
            return None
        return self._suggest(self._gaps.popleft() if self._gaps else self._number)

    def report(self, planned: Planned, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Tell the pruner of an epoch that is not the trial's last; True means: stop the trial."""
        trial = self._told(planned, epoch, metrics)
        return trial is not None and bool(trial.should_prune())

    def verdict(self, record: Record) -> Record | None:
        """How a trial ended whose worker went on while nobody listened; None where it has to run further.

        A worker begins an epoch when it is asked to, so all but its last one had been judged when they ended. These
        are not judged again: meanwhile other trials have ended, with which they were not compared.
        """
        epochs, judged_before = record.planned.epochs, int(str(record.planned.system_attrs.get(JUDGED, 0)))
        stop = False
        for epoch, metrics in enumerate(record.epochs[: epochs - 1], start=1):
            if epoch > judged_before:
                stop = self.report(record.planned, epoch, metrics)
            else:
                self._told(record.planned, epoch, metrics)
        if record.whole:
            return record.ended(State.COMPLETE)
        return stopped_early(record) if stop else None

    def notes(self, planned: Planned) -> dict[str, Any]:
        """What a later launch needs to know of a trial that is not finished: Optuna's notes, and what was judged."""
        trial = self._live.get(planned.key)
        if trial is None:
            return dict(planned.system_attrs)
        return self._system_attrs(trial) | {JUDGED: max(self._reported.get(planned.key, ()), default=0)}

    def _told(self, planned: Planned, epoch: int, metrics: Mapping[str, float]) -> optuna.Trial | None:
        """The trial after the pruner was told of an epoch; None where it is not to be asked."""
        trial = self._live.get(planned.key)
        if trial is None or planned.kind == "reference" or self._search.pruner is None:
            return None
        value = metrics.get(self._study.spec.objectives[0].metric)
        if value is None:  # undefined this epoch (a class that occurs nowhere): nothing to judge by
            return None
        if epoch in self._reported.setdefault(planned.key, set()):  # by a worker that was lost since
            return None
        self._reported[planned.key].add(epoch)
        trial.report(value, epoch)
        return trial

    def settle(self, record: Record) -> tuple[Record, dict[str, Any]] | None:
        """Give a trial of an earlier launch the verdict that nobody gave it; None where it has to run further."""
        ended = self.verdict(record)
        if ended is None:
            return None
        self._queue.remove(record.planned)
        return self.finish(ended)

    def finish(self, record: Record) -> tuple[Record, dict[str, Any]]:
        """Tell Optuna how a trial ended.

        Returns:
            The record, ``failed`` instead of ``complete`` where an objective has no value, and Optuna's own notes on
            the trial, which a later launch needs to decide alike.
        """
        record = judged(record, self._study.spec.objectives)
        trial = self._live.pop(record.key, None)
        if trial is None:
            self._add_reference(record)
            return record, {}
        values = self._values(record) if record.state is State.COMPLETE else None
        if values is not None and len(values) == 1:
            trial.report(values[0], len(record.epochs))
        self._optuna.tell(trial, values, _TOLD[record.state])
        return record, self._system_attrs(trial)

    def better(self, record: Record, than: Record | None) -> bool:
        """Whether a complete trial, references aside, beats another in the first objective."""
        objective = self._study.spec.objectives[0]
        mine, other = record.last(objective.metric), than.last(objective.metric) if than else None
        if record.state is not State.COMPLETE or mine is None or record.planned.kind == "reference":
            return False
        return other is None or (mine > other if objective.mode == "max" else mine < other)

    def _new_optuna_study(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        logging.getLogger("optuna").propagate = False
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        directions = [
            StudyDirection.MAXIMIZE if objective.mode == "max" else StudyDirection.MINIMIZE
            for objective in self._study.spec.objectives
        ]
        pruner = build_pruner(self._search.pruner, self._study.space.max_epochs())
        return optuna.create_study(study_name=self._study.spec.study, directions=directions, pruner=pruner)

    def _enumerate(self) -> list[dict[str, Value]] | None:
        size = self._study.space.size()
        if isinstance(self._search.sampler, section.Grid) or (size is not None and size <= MAX_ENUMERATED_CELLS):
            cells = islice(self._study.space.cells(), MAX_ENUMERATED_CELLS)
            return list({self._identity(cell): cell for cell in reversed(list(cells))}.values())[::-1]
        return None

    def _identity(self, picks: Mapping[str, Value]) -> str:
        """Equal for picks that give equal trials: a preset replaces values, picked ones too."""
        if "preset" not in self._study.space.tree:
            return repr(sorted(picks.items()))
        config = self._study.space.trial(lambda name, _: picks[name], seed=0)
        return config.model_dump_json(exclude={"preset"})

    def _count(self) -> int:
        if self._cells is None:
            assert self._search.trials is not None  # only a grid may leave it out
            return self._search.trials
        return min(len(self._cells), self._search.trials or len(self._cells))

    def _references(self, records: Sequence[Record], taken: set[str]) -> Iterator[Planned]:
        known = {record.planned.number for record in records if record.planned.kind == "reference"}
        seed = derive_seed(self._search.seed, "reference")  # one for all: the references are a pair
        for number, name in enumerate(self._search.references):
            config = reference(self._study, name, seed)
            if number not in known:
                key = next(k for k in _keys(f"reference-{name}") if k not in taken)
                picks = self._study.space.locate(config)
                yield Planned(key, "reference", number, dump(config), picks)

    def _remember(self, record: Record) -> None:
        planned = record.planned
        if planned.kind == "reference":
            if record.state.final:
                self._add_reference(record)
            else:
                self._queue.appendleft(planned)
            return
        assert planned.picks is not None  # every search trial was picked
        self._seen.add(self._identity(planned.picks))
        self._add(record, _TOLD.get(record.state, TrialState.RUNNING))
        if planned.kind == "imported":
            return
        self._handed += 1
        if not record.state.final:
            self._live[planned.key] = optuna.Trial(self._optuna, self._optuna.trials[-1]._trial_id)
            self._queue.append(planned)

    def _add_reference(self, record: Record) -> None:
        if record.planned.picks is not None and record.state is State.COMPLETE:
            self._add(record, TrialState.COMPLETE)

    def _add(self, record: Record, state: TrialState) -> None:
        picks = record.planned.picks or {}
        metric = self._study.spec.objectives[0].metric
        steps = {epoch: m[metric] for epoch, m in enumerate(record.epochs, start=1) if metric in m}
        single = len(self._study.spec.objectives) == 1
        self._optuna.add_trial(
            create_trial(
                state=state,
                values=self._values(record) if state is TrialState.COMPLETE else None,
                params=dict(picks),
                distributions={name: distribution(self._domains[name]) for name in picks},
                intermediate_values=steps if single and state.is_finished() else {},
                system_attrs=dict(record.planned.system_attrs),
                user_attrs={"key": record.key},
            )
        )

    def _suggest(self, number: int) -> Planned:
        seed = derive_seed(self._search.seed, number)
        cell = self._cells[number] if self._cells and isinstance(self._search.sampler, section.Grid) else None
        trial, picks = self._ask(self._sampler(number, seed), cell)
        if self._identity(picks) in self._seen:  # a second run of the same would teach nothing
            self._optuna.tell(trial, state=TrialState.FAIL)
            trial, picks = self._ask(optuna.samplers.RandomSampler(seed=seed), self._untried(seed))
        key = f"search-{number:04d}"
        trial.set_user_attr("key", key)
        self._seen.add(self._identity(picks))
        self._live[key] = trial
        self._number, self._handed = max(self._number, number + 1), self._handed + 1
        config = self._study.space.trial(lambda name, _: picks[name], seed)
        return Planned(key, "search", number, dump(config), picks, self._system_attrs(trial))

    def _sampler(self, number: int, seed: int) -> optuna.samplers.BaseSampler:
        flat = {name: domain for name, domain, conditional in self._study.space.domains() if not conditional}
        return build_sampler(
            self._search.sampler,
            study_seed=derive_seed(self._search.seed, "sequence"),
            trial_seed=seed,
            number=number,
            flat=flat,
        )

    def _ask(
        self, sampler: optuna.samplers.BaseSampler, cell: Mapping[str, Value] | None
    ) -> tuple[optuna.Trial, dict[str, Value]]:
        """A new Optuna trial and its picks: those of ``cell`` if given, else what the sampler suggests."""
        if cell is not None:
            self._optuna.enqueue_trial(dict(cell))
        self._optuna.sampler = sampler
        trial = self._optuna.ask()
        picks: dict[str, Value] = {}

        def pick(name: str, domain: Domain) -> Value:
            picks[name] = trial._suggest(name, distribution(domain))
            return picks[name]

        self._study.space.resolve(pick)
        return trial, picks

    def _untried(self, seed: int) -> Mapping[str, Value] | None:
        """A cell of a finite space that no trial has, drawn by the trial's seed; None in an infinite space."""
        if self._cells is None:
            return None
        untried = [cell for cell in self._cells if self._identity(cell) not in self._seen]
        return random.Random(seed).choice(untried) if untried else None

    def _system_attrs(self, trial: optuna.Trial) -> dict[str, Any]:
        return dict(self._optuna.get_trials(deepcopy=False)[trial.number].system_attrs)

    def _values(self, record: Record) -> list[float]:
        return [record.epochs[-1][objective.metric] for objective in self._study.spec.objectives]


def stopped_early(record: Record) -> Record:
    """The record with the verdict of a trial that was stopped after its last epoch."""
    return record.ended(State.PRUNED, f"stopped early after epoch {len(record.epochs)}")


def judged(record: Record, objectives: Sequence[Objective]) -> Record:
    """The record, ``failed`` instead of ``complete`` where an objective has no value in the last epoch."""
    if record.state is not State.COMPLETE:
        return record
    for objective in objectives:
        value = record.last(objective.metric)
        if value is None or not math.isfinite(value):
            reason = f"epoch {len(record.epochs)}: the objective {objective.metric} is undefined"
            return record.ended(State.FAILED, reason)
    return record


def dump(config: TrialConfig) -> dict[str, Any]:
    """A trial's configuration as plain JSON values, a local data root made absolute (workers run elsewhere)."""
    tree: dict[str, Any] = config.model_dump(mode="json")
    if "root" in tree["data"]:
        tree["data"]["root"] = absolute(tree["data"]["root"])
    return tree


def derive_seed(study_seed: int, part: int | str) -> int:
    """A seed for one part of a study, 32 bits; equal arguments give equal seeds on every machine."""
    digest = hashlib.sha256(f"{study_seed}/{part}".encode()).digest()
    return int(np.frombuffer(digest[:4], dtype="<u4")[0])


def _keys(stem: str) -> Iterator[str]:
    yield stem
    yield from (f"{stem}-{count}" for count in itertools.count(2))
