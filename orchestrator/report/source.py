"""What a report is made from: the table of a study, its frozen specification, the plans of its comparisons.

A report can be made anew, anywhere, from these four small files. What the runs of a comparison left to look at is read
beside them where it lies: a report without it lacks those pictures and nothing else.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import JsonValue

from orchestrator.errors import InputError, one_line
from orchestrator.report.origin import Origin, read_origin
from orchestrator.report.table_reading import HEAD, read_table
from orchestrator.store import artifacts, layout
from orchestrator.store.kept_study import KeptStudy
from orchestrator.store.looks import KeptLooks, TakenLook
from orchestrator.store.masking import shown_plan
from orchestrator.store.objects import DamagedError, Objects
from orchestrator.store.records import Store
from orchestrator.store.results_table import PARAM, PICK, read_inherited
from orchestrator.store.stage_plan import STAGES, Stage, StagePlan
from orchestrator.store.trial_record import State
from orchestrator.studyfile import Objective, SearchSpace, Value, objectives_of, stored_space
from trainable.evaluate.metrics.best_epoch import BestEpoch, best_epoch_label
from trainable.evaluate.metrics.names import (
    ALIGNED_OBJECT_MIOU,
    CONTEXT_GAP,
    CONTEXT_RARE_RELIANCE,
    CONTEXT_RELIANCE,
    CORRUPTED_MIOU,
    MIOU,
    RARE_MIOU,
    SWAPPED_OBJECT_MIOU,
    TEST_MIOU,
    TEST_RARE_MIOU,
    greater_is_better,
    own_directions,
)

Floats = npt.NDArray[np.float64]

DEFAULT_METRICS = (
    MIOU, RARE_MIOU, CONTEXT_GAP, SWAPPED_OBJECT_MIOU, ALIGNED_OBJECT_MIOU, CONTEXT_RELIANCE, CONTEXT_RARE_RELIANCE,
    CORRUPTED_MIOU, TEST_MIOU, TEST_RARE_MIOU,
)  # fmt: skip
"""Metrics of a report besides the objectives, as far as the study has them."""


@dataclass(frozen=True)
class Run:
    """One run of the table."""

    key: str
    kind: str
    """``search``, ``reference``, ``imported``, ``confirm``, ``ablation`` or ``prefix``."""
    arm: str | None
    block: int | None
    state: State
    reason: str | None
    seed: int
    picks: Mapping[str, Value]
    """What was picked, by domain, as the table writes it."""
    rows: slice
    """Its epochs in the sorted table."""

    @property
    def complete(self) -> bool:
        """Whether it was trained to its end: no other run enters a statistic."""
        return self.state is State.COMPLETE


@dataclass(frozen=True, eq=False)
class Results:
    """A study as its files tell it."""

    study: str
    specification: Mapping[str, JsonValue]
    table: pa.Table
    """Sorted by trial and epoch."""
    every_run: tuple[Run, ...]
    """By kind, then in the order of their numbers; references as the study file names them."""
    plans: Mapping[Stage, StagePlan] = field(default_factory=dict)
    plan_hashes: Mapping[Stage, str] = field(default_factory=dict)
    """Of the plans as they were kept, before anything in them was masked."""
    rare: frozenset[str] | None = None
    """Names of the rare classes; None where the study was launched before they were kept."""
    objects: Objects | None = None
    """Where what the runs left to look at lies; None where nothing of it is to be shown."""
    inherited: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """Of runs that began with a shared prefix: its key, and the epochs that they took over."""
    looks: Mapping[Stage, tuple[TakenLook, ...]] = field(default_factory=dict)
    """Looks that were taken at the stages, as the launches have kept them."""

    @cached_property
    def origin(self) -> Origin:
        """Launches, machines and time, read when first asked for; empty where nothing but the table is at hand."""
        keys = [run.key for run in self.every_run if run.kind not in ("prefix", "imported")]
        return Origin() if self.objects is None else read_origin(self.objects, keys)

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """What the study optimises."""
        return objectives_of(self.specification)

    @property
    def objective_metrics(self) -> list[str]:
        """What the study optimises, by name."""
        return [objective.metric for objective in self.objectives]

    @cached_property
    def space(self) -> SearchSpace:
        """What the search may pick."""
        return stored_space(self.specification)

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Names of all metrics of the table, sorted."""
        return tuple(sorted(name for name in self.table.column_names if self._is_metric(name)))

    def greater_is_better(self, metric: str) -> bool:
        """Whether larger values are better: as the objective says, else as the metric means."""
        own = own_directions(self.specification.get("evaluation"))
        modes = own | {objective.metric: objective.mode == "max" for objective in self.objectives}
        return modes.get(metric, own.get(metric.rpartition("/")[0], greater_is_better(metric)))

    def arrow(self, metric: str) -> str:
        """The metric with an arrow that says which values are better."""
        return f"{metric} {'↑' if self.greater_is_better(metric) else '↓'}"

    def last(self, run: Run, metric: str) -> float | None:
        """The last epoch's value; None where the run has none."""
        values = self.curve(run, metric)
        return float(values[-1]) if len(values) and np.isfinite(values[-1]) else None

    def best_epoch(self, run: Run, metric: str) -> BestEpoch | None:
        """The run's best epoch, to be shown beside the last one; None where no epoch has a value."""
        return BestEpoch.of(self.curve(run, metric).tolist(), greater=self.greater_is_better(metric))

    def best_epoch_label(self, metric: str) -> str:
        """What a metric's values of best epochs are called."""
        return f"{metric}, {best_epoch_label(greater=self.greater_is_better(metric))}"

    def setting(self, run: Run, path: str) -> object:
        """A setting of a run by its dotted path, as the table writes it; None where the run has none."""
        column = f"{PARAM}{path}"
        return self.table.column(column)[run.rows.start].as_py() if column in self.table.column_names else None

    def settings(self, runs: Sequence[Run], path: str) -> list[object]:
        """The same of several runs at once; empty where no run has it."""
        column, starts = f"{PARAM}{path}", pa.array([run.rows.start for run in runs], pa.int64())
        return list(self.table.column(column).take(starts).to_pylist()) if column in self.table.column_names else []

    def curve(self, run: Run, metric: str) -> Floats:
        """Values by epoch, the first is epoch 1's; NaN where there is none."""
        if metric not in self._columns:
            return np.full(len(self.table), np.nan)[run.rows]
        return self._columns[metric][run.rows]

    def weight_cosines(self, run: Run) -> artifacts.WeightCosines | None:
        """What a run has kept of its last epoch's classifier; None where it has not. Raises OSError as the storage."""
        return None if self.objects is None else artifacts.read_weight_cosines(self.objects, run.key)

    def reliance(self, run: Run) -> artifacts.ContextReliance | None:
        """What a run has kept of its last epoch's reliance on context; as ``weight_cosines``."""
        return None if self.objects is None else artifacts.read_reliance(self.objects, run.key)

    def calibration(self, run: Run) -> artifacts.CalibrationBins | None:
        """Accuracy by bins of confidence of a run's last epoch; as ``weight_cosines``."""
        return None if self.objects is None else artifacts.read_calibration(self.objects, run.key)

    def predictions(self, run: Run) -> bytes | None:
        """PNG file of a run's predictions after its last epoch; as ``gradcam``."""
        return None if self.objects is None else artifacts.read_picture(self.objects, run.key, layout.LAST_PICTURE)

    def gradcam(self, run: Run) -> bytes | None:
        """PNG file of a run's last epoch; None where it has none. Raises OSError as the storage."""
        return None if self.objects is None else artifacts.read_picture(self.objects, run.key, layout.GRADCAM)

    def runs(self, *kinds: str) -> list[Run]:
        """Runs of some kinds, in the order of their numbers."""
        return [run for run in self.every_run if run.kind in kinds]

    def chosen_metrics(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """The metrics to report: the given ones, or the objectives and the usual ones that the study has."""
        if names:  # beside the objectives: a metric that is picked afterwards is none
            return tuple(dict.fromkeys([*(name for name in self.objective_metrics if name in self.metrics), *names]))
        wanted = dict.fromkeys([*self.objective_metrics, *DEFAULT_METRICS])
        return tuple(name for name in wanted if name in self.metrics)

    @cached_property
    def _columns(self) -> dict[str, Floats]:
        numbers = {name: self.table.column(name).cast(pa.float64()) for name in self.metrics}
        return {name: np.asarray(column, dtype=np.float64) for name, column in numbers.items()}

    def _is_metric(self, name: str) -> bool:
        if name in HEAD or name.startswith((PARAM, PICK)):
            return False
        kind = self.table.schema.field(name).type
        return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def read_results(store: Store) -> Results:
    """Everything a report is made from.

    Raises:
        InputError: there is no such study, it has no table yet, or one of its files is damaged.
        OSError: the storage cannot be used.
    """
    kept = store.launched_study()
    return results_of(store, kept, read_table(store))


def results_of(store: Store, kept: KeptStudy, table: pa.Table) -> Results:
    """The same from a table at hand, its rows sorted by trial and epoch; raises as ``read_results``."""
    try:
        read = {stage: plan for stage in STAGES if (plan := StagePlan.read(store.objects, stage)) is not None}
        looks = {stage: _kept_looks(store.objects, plan) for stage, plan in read.items() if plan.looks is not None}
    except DamagedError as error:
        raise InputError(f"{error}; the same launch again writes it anew") from error
    plans = {stage: shown_plan(plan, kept.from_env) for stage, plan in read.items()}
    rare = frozenset(name for names in kept.rare_classes.values() for name in names) if kept.rare_classes else None
    named = _references(kept.specification)
    runs = tuple(sorted(_runs(table), key=lambda run: (run.kind, named.get(run.key, len(named)), natural(run.key))))
    heirs = read_inherited(table)
    hashes = {stage: plan.hash for stage, plan in read.items()}
    results = Results(store.study, kept.specification, table, runs, plans, hashes, rare, store.objects, heirs, looks)
    try:
        results.space.domains()
    except (ValueError, KeyError, TypeError) as error:
        where, what = store.path(layout.STUDY), one_line(error)[:200]
        raise InputError(f"{where}: holds a search space that no version writes ({what}); restore it") from error
    searched = results.runs("search", "imported")
    if searched and results.space.domains() and not any(run.picks for run in searched):
        address = store.path(layout.TABLE)
        raise InputError(f"{address}: of an older version, without picks; the same launch again writes it anew")
    return results


def _kept_looks(objects: Objects, plan: StagePlan) -> tuple[TakenLook, ...]:
    """The looks that were taken under a plan; none that were taken under another."""
    kept = KeptLooks.read(objects, plan.stage)
    return kept.looks if kept is not None and kept.plan == plan.hash else ()


def _references(specification: Mapping[str, JsonValue]) -> dict[str, int]:
    """Places of the references in the study file by their runs' keys; the table does not say them."""
    search = specification.get("search")
    names = search.get("references") if isinstance(search, Mapping) else None
    return {f"reference-{name}": place for place, name in enumerate(names if isinstance(names, list) else ())}


def natural(key: str) -> list[tuple[int, str]]:
    """Sorts ``search-10000`` behind ``search-9999``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", key)]


def _runs(table: pa.Table) -> Iterator[Run]:
    keys = table.column("trial").to_pylist()
    starts = np.array([at for at, key in enumerate(keys) if at == 0 or key != keys[at - 1]], dtype=np.int64)
    stops = [*starts[1:].tolist(), len(keys)]
    names = [name for name in table.column_names if name in HEAD or name.startswith(PICK)]
    heads = table.select(names).take(pa.array(starts)).to_pylist()
    for row, start, stop in zip(heads, starts.tolist(), stops, strict=False):
        block = row.get("block")
        yield Run(
            key=row["trial"],
            kind=row["kind"],
            arm=row.get("arm"),
            block=None if block is None else int(block),
            state=State(row["state"]),
            reason=row["reason"],
            seed=int(row["seed"]),
            picks={n.removeprefix(PICK): row[n] for n in names if n.startswith(PICK) and row[n] is not None},
            rows=slice(start, stop if row["epoch"] else start),  # epoch 0: a run without any
        )
