"""A comparison as it ran: which runs enter its statistics, which do not and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from orchestrator.report.source import Results, Trial
from orchestrator.report.statistics.paired import Comparison, Values, compare, per_class
from orchestrator.store.stage_plan import Arm, Stage, StagePlan
from orchestrator.store.trial_record import State
from trainable.evaluate.metrics.names import IOU_PREFIX

ALPHA = 0.05
"""Level of every verdict."""
CONFIDENCE = 0.95
NOUNS: Mapping[Stage, str] = {"confirm": "confirmation", "ablation": "ablation"}
TITLES: Mapping[Stage, str] = {"confirm": "Confirmation on fresh seeds", "ablation": "Ablation"}


@dataclass(frozen=True)
class Missing:
    """A planned run without a value in the statistics."""

    arm: str
    block: int
    key: str | None
    """None where it never began."""
    state: str
    reason: str


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
    def blocks(self) -> range:
        """Positions of the planned seeds."""
        return range(len(self.plan.seeds))

    @cached_property
    def runs(self) -> Mapping[tuple[str, int], Trial]:
        """The run of every arm and block that began."""
        planned = {arm.name for arm in self.arms}
        return {
            (trial.arm, trial.block): trial
            for trial in self.results.runs(self.plan.stage)
            if trial.arm in planned and trial.arm is not None and trial.block in self.blocks and trial.block is not None
        }

    @cached_property
    def strays(self) -> tuple[str, ...]:
        """Keys of runs of this stage that the plan does not hold."""
        planned = {trial.key for trial in self.runs.values()}
        return tuple(trial.key for trial in self.results.runs(self.plan.stage) if trial.key not in planned)

    @cached_property
    def missing(self) -> tuple[Missing, ...]:
        """Planned runs that enter no statistic, by arm and block."""
        return tuple(
            _missing(arm.name, block, self.runs.get((arm.name, block)))
            for arm in self.arms
            for block in self.blocks
            if (arm.name, block) not in self.runs or not self.runs[arm.name, block].complete
        )

    def complete(self, arm: str) -> list[Trial]:
        """Complete runs of an arm by block."""
        runs = [self.runs.get((arm, block)) for block in self.blocks]
        return [run for run in runs if run is not None and run.complete]

    def values(self, metric: str) -> Values:
        """Last epoch's value by arm and block, of complete runs that have one."""
        found: dict[str, dict[int, float]] = {}
        for arm in self.arms:
            runs = self.complete(arm.name)
            last = {run.block: self.results.last(run, metric) for run in runs}
            found[arm.name] = {b: value for b, value in last.items() if b is not None and value is not None}
        return found

    @lru_cache  # noqa: B019 - lives as long as the report of one study
    def comparisons(self, metric: str) -> Mapping[str, Comparison]:
        """Each arm against the baseline, by its name."""
        found = compare(
            self.values(metric),
            self.plan.baseline,
            metric=metric,
            greater_is_better=self.results.greater_is_better(metric),
            blocks=self.blocks,
            confidence=CONFIDENCE,
        )
        return {comparison.arm: comparison for comparison in found}

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that have an IoU in this stage, in the order of their names."""
        names = [metric for metric in self.results.metrics if metric.startswith(IOU_PREFIX)]
        return tuple(n.removeprefix(IOU_PREFIX) for n in names if any(self.values(n).values()))

    @cached_property
    def class_comparisons(self) -> Mapping[tuple[str, str], Comparison]:
        """Each class's IoU of each arm against the baseline, by class and arm; exploratory."""
        values = {name: self.values(f"{IOU_PREFIX}{name}") for name in self.classes}
        if not values:
            return {}
        found = per_class(values, self.plan.baseline, greater_is_better=True, blocks=self.blocks, confidence=CONFIDENCE)
        return {(comparison.metric, comparison.arm): comparison for comparison in found}


def significant(comparison: Comparison) -> bool:
    """Whether the adjusted test rejects."""
    return comparison.p_adjusted is not None and comparison.p_adjusted <= ALPHA


def verdict(comparison: Comparison) -> str:
    """What may be said: ``better`` or ``worse``, else ``not shown``, which is no proof of equality."""
    if not significant(comparison) or comparison.better is None:
        return "not shown"
    return "better" if comparison.better else "worse"


def _missing(arm: str, block: int, run: Trial | None) -> Missing:
    if run is None:
        return Missing(arm, block, None, "not begun", "")
    words = {State.PRUNED: "stopped early", State.RUNNING: "not finished"}
    return Missing(arm, block, run.key, words.get(run.state, str(run.state)), run.reason or "")
