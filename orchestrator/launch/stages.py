"""The stages of a study, one after the other: search, confirm, ablation. What to run next, derived from the records.

A stage is one round of runs, a path several: each of its rounds follows from the runs of those before. Whatever a
launch finds in the study's directory, it goes on where the records end.
"""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from orchestrator.launch.history import History, best_elsewhere, settle
from orchestrator.launch.look_rounds import LookRounds
from orchestrator.launch.plan_changes import described, difference, registered_plan
from orchestrator.launch.prefix_rounds import PrefixRounds
from orchestrator.launch.rounds import Identity, Round, StageProgress, identity, named
from orchestrator.plan.ablation import ablation, winning_tree
from orchestrator.plan.comparison import Comparison
from orchestrator.plan.confirmation import confirmation, few_leaders, winner
from orchestrator.plan.fixed import FixedPlanner
from orchestrator.plan.planner import Planner
from orchestrator.plan.prefixes import Prefix, search_prefixes
from orchestrator.plan.trial_source import TrialSource
from orchestrator.store.ranking import ranked
from orchestrator.store.records import Store
from orchestrator.store.stage_plan import STAGES, Stage, StagePlan
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Study
from orchestrator.studyfile.sections.comparison import BestOf, Winner
from orchestrator.studyfile.space.trees import content
from trainable.config import TrialConfig
from trainable.configfile.node import JsonObject


class Stages:
    """What is left of a study, after what earlier launches left.

    Raises:
        InputError: the study whose best trial is the baseline is not there, or has none.
    """

    def __init__(self, study: Study, store: Store, history: History, say: Callable[[str], None]) -> None:
        self._study, self._store, self._say = study, store, say
        self._outside = history.outside
        self._outside_keys = {record.key for record in history.outside}
        self._records = {record.key: record for record in (*history.records, *history.compared)}
        self._identities: dict[str, Identity] = {}
        self._searching = study.spec.searched
        self._planner: Planner | None = None
        self._ended: set[Stage] = set()
        self._progress: dict[Stage, StageProgress] = {}
        self._prefixes = PrefixRounds(store, study.spec.resources, self._records, say)
        self._looks = LookRounds(store.objects, study.spec.objectives[0], say)
        self._elsewhere = self._best_elsewhere()
        for stage in STAGES:
            if not study.spec.compares(stage):
                self._say_outside(stage)

    @property
    def plans(self) -> dict[Stage, StagePlan]:
        """The plans of the comparing stages, as far as they are known."""
        return {stage: progress.plan for stage, progress in self._progress.items()}

    @property
    def known(self) -> list[Record]:
        """Everything that earlier launches left and this one has run, as it belongs to the study."""
        return self.belonging(self._records.values())

    @property
    def spared(self) -> dict[str, int]:
        """Runs of the comparing stages that will not run, as looks have stopped their arms."""
        return {stage: self._looks.spared(progress) for stage, progress in self._progress.items()}

    def update(self, record: Record) -> None:
        """Take a trial's latest record."""
        self._records[record.key] = record
        if record.state.final and record.planned.prefix is not None:
            self._release_prefixes()

    def next(self) -> Round | None:
        """What runs next; None when all is done.

        Raises:
            InputError: an arm is no valid trial around the winner.
        """
        following = self._search() or self._confirm() or self._ablate()
        if following is None:
            self._prefixes.release_all()
        return following

    def register(self) -> None:
        """Write the plans of the stages that have begun into the study's directory: before their first run."""
        for progress in self._progress.values():
            if progress.written != progress.plan:
                progress.plan.write(self._store.objects)
                progress.written = progress.plan
            self._looks.register(progress.plan)

    def belonging(self, records: Iterable[Record]) -> list[Record]:
        """Those of the records that belong to the study, runs of comparisons named as it now plans them."""
        placed = [self._placed(record) for record in records if record.key not in self._outside_keys]
        return sorted(filter(None, placed), key=lambda record: (record.planned.kind, record.planned.number))

    def champion(self) -> Record | None:
        """The best trial of the search: the confirmed one where its confirmation has values."""
        leaders, progress = self._leaders(), self._progress.get("confirm")
        if progress is not None:
            name = winner(self.known, progress.plan, self._study.spec.objectives[0])
            if name is not None:
                return self._records[name]
        return leaders[0] if leaders else None

    def _search(self) -> Round | None:
        if not self._searching:
            return None
        kinds = ("search", "reference", "imported")
        records = [record for record in self._records.values() if record.planned.kind in kinds]
        planner = Planner(self._study, records, self._outside, self._prefixes.heir)
        known = self._settled(planner, records)
        shares = self._study.spec.resources.share_prefixes
        prefixes = search_prefixes(self._study, planner.waiting) if shares else {}
        if (beginning := self._prefix_round("search", prefixes)) is not None:
            return beginning
        if planner.cap:
            self._say(planner.cap)
        self._searching, self._planner = False, planner  # once it has run, it is done
        if planner.exhausted:
            self._release_prefixes()
            return None
        return Round("search", planner, known, self._study.space.max_epochs(), f"{planner.total} trials")

    def _confirm(self) -> Round | None:
        if self._study.spec.confirm is None or not (leaders := self._leaders()):
            return None
        section, first = self._study.spec.confirm, confirmation(self._study, leaders)
        chosen = len(first.plan.arms) + len(first.equal) - len(self._study.spec.search.references)
        if "confirm" not in self._progress and chosen < section.top:
            self._say(few_leaders(section.top, chosen))
        return self._comparing(lambda: first)

    def _ablate(self) -> Round | None:
        if self._study.spec.ablation is None or (raw := self._baseline()) is None:
            return None
        return self._comparing(lambda: ablation(self._study, raw, self._mean))

    def _comparing(self, derive: Callable[[], Comparison]) -> Round | None:
        """The runs of a comparing stage that are still to end; None where all have ended."""
        while True:
            progress = self._advanced(derive())
            progress.due = self._looks.due(progress, self._records)
            stage, runs = progress.plan.stage, progress.due
            ended = {key for key, record in self._records.items() if record.state.final}
            waiting = [planned for key, planned in runs.items() if key not in ended]
            waiting.sort(key=lambda planned: planned.key not in self._records)  # what was begun goes on first
            if (beginning := self._prefix_round(stage, self._prefixes.shared(waiting))) is not None:
                return beginning
            heirs = [self._prefixes.heir(planned) for planned in waiting]
            planner = FixedPlanner(heirs, len(runs), self._study.spec.objectives)
            known = [named(self._records[key], planned) for key, planned in runs.items() if key in self._records]
            known = self._settled(planner, known)
            if not planner.exhausted:
                title = self._looks.title(progress.plan)
                longest, taken = max(planned.epochs for planned in runs.values()), sum(p.inherited for p in heirs)
                return Round(stage, planner, known, longest, title, inherited=taken)
            if not waiting:
                if progress.plan.design == "path":
                    self._say_outside(stage, progress.runs)
                self._ended.add(stage)
                return None

    def _prefix_round(self, stage: str, prefixes: Mapping[str, Prefix]) -> Round | None:
        """The prefixes that trials of a stage share, as far as they are to be trained before them."""
        trained = self._prefixes.to_train(prefixes)
        planner = FixedPlanner(trained, len(trained), self._study.spec.objectives)
        known = self._settled(planner, [r for planned in trained if (r := self._prefixes.known(planned)) is not None])
        if planner.exhausted:
            return None
        saved = sum(prefixes[planned.key].saved for planned in trained if prefixes[planned.key].heirs)
        longest = max(planned.epochs for planned in trained)
        title = f"{stage}: first {len(trained)} shared prefixes of {longest} epochs"
        title += f", which save {saved}" if saved else ""
        return Round(stage, planner, known, longest, title, "prefix")

    def _release_prefixes(self) -> None:
        """Let go of prefixes whose heirs have all ended; a search and a path have heirs that are not known yet."""
        open_ended = [p for stage, p in self._progress.items() if p.plan.design == "path" and stage not in self._ended]
        if self._searching or open_ended or (self._planner is not None and not self._planner.exhausted):
            return
        searched = [record.planned for record in self._records.values() if record.planned.kind == "search"]
        runs = [planned for progress in self._progress.values() for planned in progress.due.values()]
        self._prefixes.release([*searched, *runs])

    def _settled(self, planner: TrialSource, records: Sequence[Record]) -> list[Record]:
        """The records, with a verdict for those that ended while no driver lived."""
        settled = settle(planner, self._store, records)
        for record in settled:
            self.update(record)
        return settled

    def _advanced(self, comparison: Comparison) -> StageProgress:
        """The progress of a stage that now compares this; what differs from earlier launches is told once."""
        stage = comparison.plan.stage
        progress = self._progress.get(stage)
        before = progress.before if progress else registered_plan(self._store.objects, stage, self._say)
        plan, runs = self._with_past(comparison.plan, before), self._matched(comparison)
        if progress is not None:
            progress.plan, progress.runs = plan, runs
            return progress
        self._looks.check(stage, before, plan.looks, self._study.path)
        progress = self._progress[stage] = StageProgress(plan, runs, before, written=before)
        for name, same in comparison.equal.items():
            self._say(f"{stage}: {name} is the same configuration as {same}; it runs once")
        if before is not None and before.hash != plan.hash:
            self._say(f"The registered plan of the {stage} has changed: {difference(before, plan)}")
        if plan.design != "path":  # its later rounds are not derived yet
            self._say_outside(stage, progress.runs)
        return progress

    def _with_past(self, plan: StagePlan, before: StagePlan | None) -> StagePlan:
        """The plan with what it is to decide by, and the plans that it replaces after runs had begun."""
        objective = self._study.spec.objectives[0]
        plan = replace(plan, objective={"metric": objective.metric, "mode": objective.mode})
        if before is None:
            return plan
        replaced = (described(before),) if self._runs_of(plan.stage) and before.hash != plan.hash else ()
        return replace(plan, earlier=before.earlier + replaced)

    def _placed(self, record: Record) -> Record | None:
        """The record with its place in the plan as it is now written; None where it has none."""
        kind = record.planned.kind
        if kind != "confirm" and kind != "ablation":
            return record
        progress = self._progress.get(kind)
        if progress is None:
            return record if self._study.spec.compares(kind) else None
        planned = progress.runs.get(record.key)
        return named(record, planned) if planned else None

    def _matched(self, comparison: Comparison) -> dict[str, Planned]:
        """Every run of a comparison by its key: an earlier run of equal content and seed is that run."""
        earlier = {self._identity(run.planned): run for run in self._runs_of(comparison.plan.stage)}
        runs: dict[str, Planned] = {}
        for planned in comparison.cells():
            same = earlier.get(identity(planned.config))
            if same is not None:
                runs[same.key] = named(same, planned).planned
                continue
            key = planned.key
            while key in self._records or key in runs or key in self._outside_keys:
                key += "-again"
            runs[key] = replace(planned, key=key)
        return runs

    def _identity(self, planned: Planned) -> Identity:
        if planned.key not in self._identities:
            self._identities[planned.key] = identity(planned.config)
        return self._identities[planned.key]

    def _mean(self, config: TrialConfig, seeds: Sequence[int]) -> float | None:
        """Mean objective over the complete runs of a configuration, larger is better; None while some are open."""
        objective, wanted = self._study.spec.objectives[0], {(content(config), seed) for seed in seeds}
        runs = [run for run in self._runs_of("ablation") if self._identity(run.planned) in wanted]
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

    def _baseline(self) -> JsonObject | None:
        """The trial around which the ablation is made; None where it is the winner of a search that found none."""
        section = self._study.spec.ablation
        assert section is not None
        if isinstance(section.read_baseline(searched=self._study.spec.searched), Winner):
            champion = self.champion()
            return None if champion is None else winning_tree(self._study, champion)
        return self._elsewhere or self._study.space.at_center()

    def _best_elsewhere(self) -> JsonObject | None:
        section = self._study.spec.ablation
        baseline = section.read_baseline(searched=self._study.spec.searched) if section else None
        if not isinstance(baseline, BestOf):
            return None
        config = best_elsewhere(self._study, self._store, baseline.study)
        own = self._study.space.at_center()
        return {**config, "data": own["data"], "evaluation": own.get("evaluation", {})}

    def _runs_of(self, stage: Stage) -> list[Record]:
        return [record for record in self._records.values() if record.planned.kind == stage]

    def _say_outside(self, stage: Stage, runs: Container[str] = ()) -> None:
        """Tell how many earlier runs of a stage are none of its runs."""
        count = sum(run.key not in runs for run in self._runs_of(stage))
        if count:
            many = "1 earlier run does" if count == 1 else f"{count} earlier runs do"
            self._say(f"{stage}: {many} not belong to the plan as it is now written, and count for nothing")
