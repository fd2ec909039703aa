"""Ask and tell: turns a study and its records into the trials that are still to run."""

import hashlib
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from optuna.samplers import BaseSampler, RandomSampler

from orchestrator.plan.optuna_study import OptunaStudy
from orchestrator.plan.samplers import build_sampler
from orchestrator.plan.tpe import TrialTable
from orchestrator.plan.trial_source import Need, TrialSource, stopped_early
from orchestrator.store.addresses import absolute
from orchestrator.store.trial_record import Planned, Record, State, reference_key
from orchestrator.studyfile import Study, Value, reference
from orchestrator.studyfile.sections.search import Grid, SearchSection
from orchestrator.studyfile.space.space import MOST_CELLS
from trainable.config import TrialConfig
from trainable.configfile.node import JsonObject


class Planner(TrialSource):
    """Decides which trial runs next; `OptunaStudy.report` decides which one stops early.

    Args:
        study: The study.
        records: Every trial known from earlier launches. Finished ones are told to Optuna in the order of their
            numbers; the others are handed out first, under their own keys.
        outside: Earlier trials that do not lie in the search space: their keys and numbers are not used again.
        inherit: Gives a trial the prefix that it begins with, if any.
    """

    def __init__(
        self,
        study: Study,
        records: Sequence[Record] = (),
        outside: Sequence[Record] = (),
        inherit: Callable[[Planned], Planned] = lambda planned: planned,
    ) -> None:
        self._inherit = inherit
        self._study = study
        self._search = study.spec.search
        self._cells = self._enumerate()
        sizes = (None if self._cells is None else len(self._cells), self._search.trials)
        self.budget = min(size for size in sizes if size is not None)  # only a grid may leave out ``trials``
        """Search trials of the study: its budget, or all cells of a smaller finite space; imported ones not counted."""
        self.cap = _cap(self._search.trials, self.budget)
        """Why fewer trials run than the study asks for, in a line; None where all run."""
        self.total = self.budget + len(self._search.references)
        self.objectives = study.spec.objectives
        self._optuna, self._table = OptunaStudy(study), TrialTable()
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
    def exhausted(self) -> bool:
        """Whether nothing is left to hand out."""
        all_tried = self._cells is not None and len(self._seen) >= len(self._cells)
        return not self._queue and (self._handed >= self.budget or all_tried)

    def next(self) -> Planned | None:
        """The next trial, or None when all have been handed out."""
        if self._queue:
            return self._inherit(self._queue.popleft())
        if self.exhausted:
            return None
        return self._inherit(self._suggest(self._gaps.popleft() if self._gaps else self._number))

    @property
    def need(self) -> Need:
        """One trial, as far as is known before it is suggested the longest that may be."""
        if self.exhausted:
            return Need(0, 0)
        if self._queue:
            return Need(1, self._queue[0].epochs, (self._queue[0].key,))
        return Need(1, self._study.space.max_epochs())

    @property
    def waiting(self) -> list[int]:
        """Numbers of the trials of the search that have not begun."""
        fresh = max(0, self.budget - self._handed)
        return [*self._gaps, *range(self._number, self._number + fresh)][:fresh]

    def withdraw(self, key: str) -> None:
        """Hand out a trial of an earlier launch no more."""
        self._queue = deque(planned for planned in self._queue if planned.key != key)

    def report(self, planned: Planned, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Tell the pruner of an epoch that is not the trial's last; True means: stop the trial."""
        return self._optuna.report(planned, epoch, metrics)

    def verdict(self, record: Record) -> Record | None:
        """How a trial ended whose worker went on while nobody listened; None where it has to run further."""
        stop = self._optuna.stops(record)
        return super().verdict(record) or (stopped_early(record) if stop else None)

    def notes(self, planned: Planned) -> JsonObject:
        """What a later launch needs to know of a trial that is not finished: Optuna's notes, and what was judged."""
        return self._optuna.notes(planned)

    def finish(self, record: Record) -> tuple[Record, JsonObject]:
        """Tell Optuna how a trial ended; its own notes on the trial come back with the record."""
        record, _ = super().finish(record)
        return record, self._optuna.tell(record)

    def better(self, record: Record, than: Record | None) -> bool:
        """Whether a complete trial, references aside, beats another in the first objective; of equals the first."""
        metric, mode = self.objective.metric, self.objective.mode
        value, other = record.last(metric), than.last(metric) if than else None
        if record.state is not State.COMPLETE or value is None or record.planned.kind == "reference":
            return False
        if than is None or other is None:
            return True
        sign = 1 if mode == "max" else -1
        return (sign * value, than.key) > (sign * other, record.key)  # in whatever order they end, as the ranking does

    def _enumerate(self) -> list[dict[str, Value]] | None:
        size = self._study.space.size()
        if isinstance(self._search.sampler, Grid) or (size is not None and size <= MOST_CELLS):
            cells = islice(self._study.space.cells(), MOST_CELLS)
            return list({self._identity(cell): cell for cell in reversed(list(cells))}.values())[::-1]
        return None

    def _identity(self, picks: Mapping[str, Value]) -> str:
        """Equal for picks that give equal trials: a preset replaces values, picked ones too."""
        if "preset" not in self._study.space.tree:
            return repr(sorted(picks.items()))
        config = self._study.space.trial(lambda name, _: picks[name], seed=0)
        return config.model_dump_json(exclude={"preset"})

    def _references(self, records: Sequence[Record], taken: set[str]) -> Iterator[Planned]:
        known = {record.planned.number for record in records if record.planned.kind == "reference"}
        seed = derive_seed(self._search.seed, "reference")  # one for all: the references are a pair
        for number, name in enumerate(self._search.references):
            config = reference(self._study, name, seed)
            if number not in known:
                key = next(k for k in _keys(reference_key(name)) if k not in taken)
                picks = self._study.space.locate(config)
                yield Planned(key, "reference", number, dump(config), picks)

    def _remember(self, record: Record) -> None:
        planned = record.planned
        if planned.kind == "reference":
            if record.state.final:
                self._optuna.tell(record)
            else:
                self._queue.appendleft(planned)
            return
        assert planned.picks is not None  # every search trial was picked
        self._seen.add(self._identity(planned.picks))
        self._optuna.add(record)
        if planned.kind == "imported":
            return
        self._handed += 1
        if not record.state.final:
            self._queue.append(planned)

    def _suggest(self, number: int) -> Planned:
        seed = derive_seed(self._search.seed, number)
        cell = self._cells[number] if self._cells and isinstance(self._search.sampler, Grid) else None
        trial, picks = self._optuna.ask(self._sampler(number, seed), cell)
        if self._identity(picks) in self._seen:  # a second run of the same would teach nothing
            self._optuna.discard(trial)
            trial, picks = self._optuna.ask(RandomSampler(seed=seed), self._untried(seed))
        key = f"search-{number:04d}"
        system_attrs = self._optuna.start(key, trial)
        self._seen.add(self._identity(picks))
        self._number, self._handed = max(self._number, number + 1), self._handed + 1
        config = self._study.space.trial(lambda name, _: picks[name], trial_seed(self._search, number))
        return Planned(key, "search", number, dump(config), picks, system_attrs)

    def _sampler(self, number: int, seed: int) -> BaseSampler:
        flat = {name: domain for name, domain, conditional in self._study.space.domains() if not conditional}
        sequence = derive_seed(self._search.seed, "sequence")
        return build_sampler(
            self._search.sampler, study_seed=sequence, seed=seed, number=number, flat=flat, table=self._table
        )

    def _untried(self, seed: int) -> Mapping[str, Value] | None:
        """A cell of a finite space that no trial has, drawn by the trial's seed; None in an infinite space."""
        if self._cells is None:
            return None
        untried = [cell for cell in self._cells if self._identity(cell) not in self._seen]
        return random.Random(seed).choice(untried) if untried else None


def _cap(trials: int | None, budget: int) -> str | None:
    if trials is None or budget == trials:
        return None
    return f"search.trials is {trials}, but the space has {budget} configurations: {budget} will run"


def dump(config: TrialConfig) -> JsonObject:
    """A trial's configuration as plain JSON values, a local data root made absolute (workers run elsewhere)."""
    tree: JsonObject = config.model_dump(mode="json")
    data = tree["data"]
    if isinstance(data, dict) and isinstance(root := data.get("root"), str):
        data["root"] = absolute(root)
    return tree


def trial_seed(search: SearchSection, number: int) -> int:
    """Seed of a trial of the search; of several numbers the same where the trials share seeds."""
    return derive_seed(search.seed, number if search.seeds is None else number % search.seeds)


def derive_seed(study_seed: int, part: int | str) -> int:
    """A seed for one part of a study, 32 bits; equal arguments give equal seeds on every machine."""
    digest = hashlib.sha256(f"{study_seed}/{part}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


def _keys(stem: str) -> Iterator[str]:
    yield stem
    yield from (f"{stem}-{count}" for count in itertools.count(2))
