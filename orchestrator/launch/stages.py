"""The stages of a study, one after the other: search, confirm, ablation. What to run next, derived from the records.

A stage is one round of runs, a path several: each of its rounds follows from the runs of those before. Whatever a
launch finds in the study's directory, it goes on where the records end.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from orchestrator.launch.history import History, best_elsewhere, settle
from orchestrator.launch.plan_changes import described, difference, registered
from orchestrator.plan.ablation import ablation, winning_tree
from orchestrator.plan.comparison import Comparison
from orchestrator.plan.confirmation import confirmation, winner
from orchestrator.plan.fixed import FixedPlanner
from orchestrator.plan.planner import Planner
from orchestrator.store.ranking import ranked
from orchestrator.store.records import Store
from orchestrator.store.stage_plan import STAGES, Stage, StagePlan
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Study
from orchestrator.studyfile.sections.comparison import BestOf, Winner
from orchestrator.studyfile.space.trees import content
from trainable.config import TrialConfig, read_trial

Identity = tuple[str, int]
"""Content and seed of a run: equal ones are one run."""


@dataclass(frozen=True)
class Round:
    """Trials that can run now."""

    stage: str
    planner: Planner | FixedPlanner
    known: Sequence[Record]
    """Trials of the stage that earlier launches left."""
    epochs: int
    """Of the longest trial."""
    title: str
    """What runs, in a line."""


class Stages:
    """What is left of a study.

    Args:
        study: The study.
        store: Its directory.
        history: What earlier launches left.
        say: Prints a line for the user.

    Raises:
        InputError: the study whose best trial is the baseline is not there, or has none.
    """

    def __init__(self, study: Study, store: Store, history: History, say: Callable[[str], None]) -> None:
        self._study, self._store, self._say = study, store, say
        self._outside = history.outside
        self._left_out = {record.key for record in history.outside}
        self._records = {record.key: record for record in (*history.records, *history.compared)}
        self._identities: dict[str, Identity] = {}
        self._searching = study.spec.searched
        self._plans: dict[Stage, StagePlan] = {}
        self._before: dict[Stage, StagePlan | None] = {}
        self._written: dict[Stage, StagePlan] = {}
        self._runs: dict[Stage, dict[str, Planned]] = {}
        self._elsewhere = self._best_elsewhere()
        self._say_dropped(history.compared)

    @property
    def plans(self) -> dict[Stage, StagePlan]:
        """The plans of the comparing stages, as far as they are known."""
        return dict(self._plans)

    @property
    def known(self) -> list[Record]:
        """Everything that earlier launches left and this one has run, as it belongs to the study."""
        return self.belonging(self._records.values())

    def update(self, record: Record) -> None:
        """Take a trial's latest record."""
        self._records[record.key] = record

    def next(self) -> Round | None:
        """What runs next; None when all is done.

        Raises:
            InputError: an arm is no valid trial around the winner.
        """
        if self._searching and (search := self._search()):
            return search
        if self._study.spec.confirm is not None and (leaders := self._leaders()):
            confirm = self._round(lambda: confirmation(self._study, leaders))
            if confirm is not None:
                return confirm
        if self._study.spec.ablation is None or (raw := self._baseline()) is None:
            return None
        return self._round(lambda: ablation(self._study, raw, self._mean))

    def register(self) -> None:
        """Write the plans of the stages that have begun into the study's directory: before their first run."""
        for plan in self._plans.values():
            if self._written.get(plan.stage, self._before.get(plan.stage)) != plan:
                plan.write(self._store.objects)
                self._written[plan.stage] = plan

    def belonging(self, records: Iterable[Record]) -> list[Record]:
        """Those of the records that belong to the study, runs of comparisons named as it now plans them."""
        found = []
        for record in records:
            stage = record.planned.kind
            if record.key in self._left_out:
                continue
            if stage in ("confirm", "ablation"):
                runs = self._runs.get(stage)
                if getattr(self._study.spec, stage) is None or (runs is not None and record.key not in runs):
                    continue
                record = record if runs is None else _named(record, runs[record.key])
            found.append(record)
        return sorted(found, key=lambda record: (record.planned.kind, record.planned.number))

    def champion(self) -> Record | None:
        """The best trial of the search: the confirmed one where its confirmation has values."""
        leaders = self._leaders()
        plan, objective = self._plans.get("confirm"), self._study.spec.objectives[0]
        if plan is not None:
            runs = [record for record in self.known if record.planned.kind == "confirm"]
            name = winner(runs, plan, objective)
            if name is not None:
                return self._records[name]
        return leaders[0] if leaders else None

    def _search(self) -> Round | None:
        records = [
            record for record in self._records.values() if record.planned.kind in ("search", "reference", "imported")
        ]
        planner = Planner(self._study, records, self._outside)
        for record in settle(planner, self._store, records):
            self.update(record)
        self._searching = False  # once it has run, it is done
        if planner.exhausted:
            return None
        known = [self._records[record.key] for record in records]
        epochs = self._study.space.max_epochs()
        return Round("search", planner, known, epochs, f"{planner.total} trials")

    def _round(self, derive: Callable[[], Comparison]) -> Round | None:
        """The runs of a comparing stage that are left; None where all have ended."""
        while True:
            comparison = self._registered(derive())
            stage, runs = comparison.plan.stage, self._matched(comparison)
            first = stage not in self._plans
            self._plans[stage], self._runs[stage] = comparison.plan, runs
            if first:
                self._announce(comparison)
            left = [planned for planned in runs.values() if not self._ended(planned.key)]
            left.sort(key=lambda planned: planned.key not in self._records)  # what was begun goes on first
            planner = FixedPlanner(left, len(runs), self._study.spec.objectives)
            known = [_named(self._records[key], planned) for key, planned in runs.items() if key in self._records]
            known = settle(planner, self._store, known)
            for record in known:
                self.update(record)
            if not planner.exhausted:
                break
            if not left:
                if comparison.plan.design == "path":
                    self._say_outside(stage)
                return None
        epochs = max(planned.epochs for planned in runs.values())
        title = f"{stage}: {len(comparison.configs)} arms x {len(comparison.plan.seeds)} seeds"
        return Round(stage, planner, known, epochs, title)

    def _registered(self, comparison: Comparison) -> Comparison:
        """The comparison with what it is to decide by, and the plans that it replaces after runs had begun."""
        objective, stage = self._study.spec.objectives[0], comparison.plan.stage
        plan = replace(comparison.plan, objective={"metric": objective.metric, "mode": objective.mode})
        if stage not in self._before:
            self._before[stage] = registered(self._store.objects, stage, self._say)
        before = self._before[stage]
        if before is not None:
            begun = any(record.planned.kind == stage for record in self._records.values())
            replaced = (described(before),) if begun and before.hash != plan.hash else ()
            plan = replace(plan, earlier=before.earlier + replaced)
        return replace(comparison, plan=plan)

    def _matched(self, comparison: Comparison) -> dict[str, Planned]:
        """Every run of a comparison by its key: an earlier run of equal content and seed is that run."""
        stage = comparison.plan.stage
        earlier = {self._identity(r.planned): r for r in self._records.values() if r.planned.kind == stage}
        runs: dict[str, Planned] = {}
        for planned in comparison.cells():
            same = earlier.get(_identity(planned.config))
            if same is not None:
                runs[same.key] = _named(same, planned).planned
                continue
            key = planned.key
            while key in self._records or key in runs or key in self._left_out:
                key += "-again"
            runs[key] = replace(planned, key=key)
        return runs

    def _identity(self, planned: Planned) -> Identity:
        if planned.key not in self._identities:
            self._identities[planned.key] = _identity(planned.config)
        return self._identities[planned.key]

    def _ended(self, key: str) -> bool:
        return key in self._records and self._records[key].state.final

    def _mean(self, config: TrialConfig, seeds: Sequence[int]) -> float | None:
        """Mean objective over the complete runs of a configuration, larger is better; None while some are open."""
        objective, wanted = self._study.spec.objectives[0], {(content(config), seed) for seed in seeds}
        runs = [
            r for r in self._records.values() if r.planned.kind == "ablation" and self._identity(r.planned) in wanted
        ]
        if len(runs) < len(wanted) or not all(record.state.final for record in runs):
            return None
        if any(record.state is not State.COMPLETE for record in runs):
            return float("-inf")  # means over other seeds than those of its rivals would not compare
        sign = 1 if objective.mode == "max" else -1
        values = [record.last(objective.metric) for record in runs]
        return fmean(sign * value for value in values if value is not None) if values else float("-inf")

    def _leaders(self) -> list[Record]:
        """Complete trials of the search, the best first."""
        return ranked(self._records.values(), self._study.spec.objectives) if self._study.spec.searched else []

    def _baseline(self) -> Mapping[str, Any] | None:
        """The trial around which the ablation is made; None where it is the winner of a search that found none."""
        section = self._study.spec.ablation
        assert section is not None
        if isinstance(section.read_baseline(searched=self._study.spec.searched), Winner):
            champion = self.champion()
            return None if champion is None else winning_tree(self._study, champion)
        return self._elsewhere or self._study.space.at_center()

    def _best_elsewhere(self) -> Mapping[str, Any] | None:
        section = self._study.spec.ablation
        baseline = section.read_baseline(searched=self._study.spec.searched) if section else None
        if not isinstance(baseline, BestOf):
            return None
        config = best_elsewhere(self._study, self._store, baseline.study)
        own = self._study.space.at_center()
        return {**config, "data": own["data"], "evaluation": own.get("evaluation", {})}

    def _announce(self, comparison: Comparison) -> None:
        """Tell what differs from what was registered and run before."""
        plan = comparison.plan
        before = self._before[plan.stage]
        for name, same in comparison.equal.items():
            self._say(f"{plan.stage}: {name} is the same configuration as {same}; it runs once")
        if before is not None and before.hash != plan.hash:
            self._say(f"The registered plan of the {plan.stage} has changed: {difference(before, plan)}")
        if plan.design != "path":  # its later rounds are not derived yet
            self._say_outside(plan.stage)

    def _say_outside(self, stage: Stage) -> None:
        earlier = {record.key for record in self._records.values() if record.planned.kind == stage}
        self._say_left_out(stage, len(earlier - self._runs[stage].keys()))

    def _say_left_out(self, stage: str, count: int) -> None:
        if count:
            runs = "1 earlier run does" if count == 1 else f"{count} earlier runs do"
            self._say(f"{stage}: {runs} not belong to the plan as it is now written, and count for nothing")

    def _say_dropped(self, compared: Sequence[Record]) -> None:
        for stage in STAGES:
            if getattr(self._study.spec, stage) is None:
                self._say_left_out(stage, sum(record.planned.kind == stage for record in compared))


def _identity(config: Mapping[str, Any]) -> Identity:
    trial = read_trial(config)
    return content(trial), trial.seed


def _named(record: Record, planned: Planned) -> Record:
    """A run with its place in the plan as it is now written."""
    placed = replace(record.planned, arm=planned.arm, block=planned.block, number=planned.number)
    return replace(record, planned=placed)
