"""A comparison as it ran: which runs enter its statistics, which do not and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, TypeAlias

from orchestrator.report.pages.document import Cell, Tone
from orchestrator.report.pages.numbers import mean, signed
from orchestrator.report.sections.look_results import LookResults
from orchestrator.report.source import Results, Run
from orchestrator.report.statistics.effects import Effect
from orchestrator.report.statistics.paired import PairedDifference, Values, compare, fixed_test, per_class
from orchestrator.store.stage_plan import STAGES, Arm, Stage, StagePlan
from orchestrator.studyfile.sections.looks import ALPHA as LEVEL
from trainable.evaluate.metrics.names import IOU_PREFIX

ALPHA = LEVEL
"""Level of every verdict."""
MOST_PICTURED = 6
"""Arms with pictures of their own: a page stays small enough to send."""
Verdict: TypeAlias = Literal["better", "worse", "not shown"]
NOUNS: Mapping[Stage, str] = {"confirm": "confirmation", "ablation": "ablation"}
TITLES: Mapping[Stage, str] = {"confirm": "Confirmation on fresh seeds", "ablation": "Ablation"}


@dataclass(frozen=True, eq=False)
class StageResults:
    """The runs of a comparing stage beside its plan."""

    results: Results
    plan: StagePlan

    @property
    def title(self) -> str:
        """What the stage is called."""
        return TITLES[self.plan.stage]

    @property
    def noun(self) -> str:
        """The stage in running text."""
        return NOUNS[self.plan.stage]

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        """The arms, the baseline first."""
        return tuple(sorted(self.plan.arms, key=lambda arm: arm.name != self.plan.baseline))

    @cached_property
    def others(self) -> tuple[str, ...]:
        """Names of the arms that are compared with the baseline."""
        return tuple(arm.name for arm in self.arms if arm.name != self.plan.baseline)

    @property
    def pictured(self) -> tuple[str, ...]:
        """The others that have pictures of their own."""
        return self.others[:MOST_PICTURED]

    @property
    def blocks(self) -> range:
        """Positions of the planned seeds."""
        return range(len(self.plan.seeds))

    @cached_property
    def runs(self) -> Mapping[tuple[str, int], Run]:
        """The run of every arm and block that began."""
        planned = {arm.name for arm in self.arms}
        return {
            (run.arm, run.block): run
            for run in self.results.runs(self.plan.stage)
            if run.arm in planned and run.arm is not None and run.block in self.blocks and run.block is not None
        }

    @cached_property
    def looks(self) -> LookResults | None:
        """The looks that were taken; None where every arm runs on every seed."""
        return None if self.plan.looks is None else LookResults.of(self.results, self.plan, self.plan.looks, self.runs)

    def planned_blocks(self, arm: str) -> range:
        """Positions of the seeds that an arm runs on: those after the look that stopped it are none."""
        return self.blocks if self.looks is None else range(self.looks.blocks[arm])

    @cached_property
    def strays(self) -> tuple[str, ...]:
        """Keys of runs of this stage that the plan does not hold."""
        planned = {run.key for run in self.runs.values()}
        return tuple(run.key for run in self.results.runs(self.plan.stage) if run.key not in planned)

    def complete(self, arm: str) -> list[Run]:
        """Complete runs of an arm by block."""
        runs = [self.runs.get((arm, block)) for block in self.blocks]
        return [run for run in runs if run is not None and run.complete]

    def values(self, metric: str) -> Values:
        """Last epoch's value by arm and block, of complete runs that have one."""
        values: dict[str, dict[int, float]] = {}
        for arm in self.arms:
            last = {run.block: self.results.last(run, metric) for run in self.complete(arm.name)}
            values[arm.name] = {b: value for b, value in last.items() if b is not None and value is not None}
        return values

    @lru_cache  # noqa: B019 - lives as long as the report of one study
    def differences(self, metric: str) -> Mapping[str, PairedDifference]:
        """Each arm against the baseline, by its name."""
        values, baseline, greater = self.values(metric), self.plan.baseline, self.results.greater_is_better(metric)
        test = fixed_test if self.looks is None else self.looks.test(baseline)
        differences = compare(values, baseline, metric=metric, greater_is_better=greater, blocks=self.blocks, test=test)
        return {difference.arm: difference for difference in differences}

    def difference_between(self, arm: str, other: str, metric: str) -> PairedDifference:
        """One arm against another that is not the baseline; exploratory, its p is adjusted for nothing."""
        values = {name: self.values(metric)[name] for name in (other, arm)}
        greater = self.results.greater_is_better(metric)
        test = fixed_test if self.looks is None else self.looks.test(other)
        return compare(values, other, metric=metric, greater_is_better=greater, blocks=self.blocks, test=test)[0]

    def class_label(self, name: str) -> str:
        """A class as a reader sees it: rare ones are marked."""
        return f"{name} (rare)" if name in (self.results.rare or ()) else name

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that have an IoU in this stage, in the order of their names."""
        names = [metric for metric in self.results.metrics if metric.startswith(IOU_PREFIX)]
        return tuple(n.removeprefix(IOU_PREFIX) for n in names if any(self.values(n).values()))

    @cached_property
    def class_differences(self) -> Mapping[tuple[str, str], PairedDifference]:
        """Each class's IoU of each arm against the baseline, by class and arm; exploratory."""
        values = {name: self.values(f"{IOU_PREFIX}{name}") for name in self.classes}
        if not values:
            return {}
        baseline, test = self.plan.baseline, fixed_test if self.looks is None else self.looks.test(self.plan.baseline)
        differences = per_class(values, baseline, greater_is_better=True, blocks=self.blocks, test=test)
        return {(difference.metric, difference.arm): difference for difference in differences}


@lru_cache(maxsize=1)  # sections ask one after the other, and each test is made once
def stages_of(results: Results) -> Mapping[Stage, StageResults]:
    """The comparisons of a study that were planned, in their order."""
    return {name: StageResults(results, results.plans[name]) for name in STAGES if name in results.plans}


def significant(estimate: PairedDifference | Effect) -> bool:
    """Whether the adjusted test rejects."""
    return estimate.p_adjusted is not None and estimate.p_adjusted <= ALPHA


def tone(estimate: PairedDifference | Effect) -> Tone:
    """How a table writes it: bold where the adjusted test rejects."""
    return "strong" if significant(estimate) else "plain"


def verdict(difference: PairedDifference) -> Verdict:
    """What may be said: ``not shown`` is no proof of equality."""
    if not significant(difference) or difference.better is None:
        return "not shown"
    return "better" if difference.better else "worse"


def overview(stage: StageResults, arm: str, metric: str) -> Cell:
    """A cell of a table of several metrics: the arm's mean and in brackets its difference to the baseline."""
    values = list(stage.values(metric)[arm].values())
    if not values or arm == stage.plan.baseline:
        return Cell(mean(values))
    paired = stage.differences(metric)[arm]
    return Cell(f"{mean(values)} ({signed(paired.difference)})", tone(paired))
