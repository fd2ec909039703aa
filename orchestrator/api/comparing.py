"""Two studies side by side: best, references and arms by name, settings in which they differ, paired differences."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.api.arguments import names
from orchestrator.api.loading import load_study
from orchestrator.api.study import Study
from orchestrator.api.trial import Trial
from orchestrator.errors import InputError
from orchestrator.store.flat_config import flatten
from orchestrator.store.stage_plan import STAGES
from orchestrator.store.trial_record import reference_name
from orchestrator.studyfile.space.trees import TRIAL_KEYS
from trainable.evaluate.metrics.names import greater_is_better

if TYPE_CHECKING:
    import pandas as pd

BEST = "best of the search"
PREDICTING = tuple(f"evaluation.{name}" for name in ("window", "overlap", "flip", "scales"))
"""Settings that change every score; the others add measurements."""
ONE_SEED = "one seed each: no evidence"


@dataclass(frozen=True)
class Row:
    """A configuration that both studies, or one of them, have by the same name; of one metric."""

    name: str
    """``best of the search``, ``reference plain``, ``confirm plain``, ``ablation erase``."""
    metric: str
    first: Mapping[int, float]
    """Last epoch's value by seed, of complete runs alone; empty where the first study does not have it."""
    second: Mapping[int, float]
    how: str = ""
    """``paired`` by seed, ``unpaired``, or why there is no difference."""
    pairs: int = 0
    difference: float | None = None
    """Mean of the second study minus that of the first; over the pairs where it is paired."""
    low: float | None = None
    """95 % interval of the difference."""
    high: float | None = None
    p_nominal: float | None = None
    """Sign-flip test of pairs, else Welch's t test; not adjusted."""
    p_adjusted: float | None = None
    """By Holm's method over all rows of the metric that have a difference."""
    verdict: str = ""


@dataclass(frozen=True)
class StudyComparison:
    """Two studies side by side; differences are second minus first."""

    first: Study = field(repr=False)
    second: Study = field(repr=False)
    metrics: tuple[str, ...]
    rows: tuple[Row, ...] = field(repr=False)
    differing: Mapping[str, tuple[object, object]] = field(repr=False)
    """Settings in which the study files differ, by dotted path: value of the first, of the second."""
    warnings: tuple[str, ...]
    """What keeps the studies from being compared, or has to be known: a sentence each."""

    def frame(self) -> "pd.DataFrame":
        """A row per configuration and metric: means, spreads and counts of both studies, and the difference."""
        from orchestrator.api.comparison_tables import comparison_frame

        return comparison_frame(self.rows)

    def settings(self) -> "pd.DataFrame":
        """A row per setting in which the study files differ."""
        from orchestrator.api.comparison_tables import settings_frame

        return settings_frame(self.differing)

    def __str__(self) -> str:
        from orchestrator.api.comparison_tables import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from orchestrator.api.comparison_tables import as_html

        return as_html(self)


def compare(
    first: Study | str | Path,
    second: Study | str | Path,
    *,
    metrics: Sequence[str] | str | None = None,
    storage: str | Path | None = None,
) -> StudyComparison:
    """Compare two studies.

    Runs of equal seed on equal data are paired; where there are none, means of different seeds are compared, which has
    more noise. Studies on other data have no differences at all.

    Args:
        first: A study, its name or directory.
        second: The study that is compared with it.
        metrics: Metrics that both have, or one; None takes the objectives of the first that the second has too.
        storage: Folder or address of the studies, where names are given.

    Raises:
        InputError: No such study, no such metric, or no objective that both have.
    """
    one, other = (s if isinstance(s, Study) else load_study(s, storage) for s in (first, second))
    chosen = names(metrics, "metrics") or _common_objectives(one, other)
    for study in (one, other):
        for metric in chosen:
            study.check_metric(metric)
    obstacle = data_obstacle(one, other)
    rows = [row for metric in chosen for row in _rows(one, other, metric, obstacle)]
    differing = _differing(one, other)
    return StudyComparison(one, other, chosen, tuple(rows), differing, tuple(_warnings(one, other, obstacle)))


def _common_objectives(one: Study, other: Study) -> tuple[str, ...]:
    shared = tuple(o.metric for o in one.objectives if o.metric in other.metrics and o.metric in one.metrics)
    if not shared:
        wanted, common = one.objectives[0].metric, [metric for metric in one.metrics if metric in other.metrics]
        reason = f"{other.name} has no {wanted}, the objective of {one.name}"
        if not other.metrics or not one.metrics:
            raise InputError(f"{(other if not other.metrics else one).address}: no trial has ended an epoch yet")
        raise InputError(f"{reason}; name a metric that both have: {', '.join(common[:8]) or 'there is none'}")
    return shared


def _rows(one: Study, other: Study, metric: str, obstacle: str | None) -> list[Row]:
    from orchestrator.report.statistics.paired import adjusted_by_holm  # late: only comparisons need it

    left, right = _values(one, metric), _values(other, metric)
    rows = [Row(name, metric, left.get(name, {}), right.get(name, {})) for name in dict.fromkeys([*left, *right])]
    greater = _greater(one, metric)
    compared = [_compared(row, greater, obstacle) for row in rows]
    tested = [row.p_nominal for row in compared if row.how in ("paired", "unpaired")]
    adjusted = iter(adjusted_by_holm(tested))
    return [_judged(row, next(adjusted) if row.how in ("paired", "unpaired") else None, greater) for row in compared]


def _greater(study: Study, metric: str) -> bool:
    modes = {objective.metric: objective.mode == "max" for objective in study.objectives}
    return modes.get(metric, greater_is_better(metric))


def _values(study: Study, metric: str) -> dict[str, dict[int, float]]:
    """The last epoch's value by name of the configuration and by seed, of complete runs that have one."""
    values: dict[str, dict[int, float]] = {}
    if study.best is not None and metric in study.best.metrics:
        values[BEST] = {study.best.seed: study.best.metrics[metric]}
    for trial in study.records:
        name = _name(trial)
        if name is not None and trial.complete and trial._record.has(metric):
            values.setdefault(name, {})[trial.seed] = trial.metrics[metric]
    return values


def _name(trial: Trial) -> str | None:
    if trial.kind == "reference":
        return f"reference {reference_name(trial.key)}"
    return f"{trial.kind} {trial.arm}" if trial.kind in STAGES and trial.arm is not None else None


def _compared(row: Row, greater: bool, obstacle: str | None) -> Row:
    from orchestrator.report.statistics.paired import compare as paired_differences
    from orchestrator.report.statistics.unpaired import welch

    if not row.first or not row.second:
        return replace(row, how=f"only in the {'second' if not row.first else 'first'}")
    if obstacle is not None:
        return replace(row, how=obstacle)
    seeds = sorted(row.first.keys() & row.second.keys())
    if seeds and row.name != BEST:
        values = {"first": row.first, "second": row.second}
        (paired,) = paired_differences(values, "first", metric=row.metric, greater_is_better=greater, blocks=seeds)
        return replace(
            row, how="paired", pairs=paired.n, difference=paired.difference, low=paired.low, high=paired.high,
            p_nominal=paired.p,
        )  # fmt: skip
    means = welch(list(row.first.values()), list(row.second.values()))
    return replace(row, how="unpaired", difference=means.difference, low=means.low, high=means.high, p_nominal=means.p)


def _judged(row: Row, adjusted: float | None, greater: bool) -> Row:
    from orchestrator.report.sections.comparison_results import ALPHA

    if row.difference is None:
        return row
    if row.p_nominal is None:
        fewest = min(len(row.first), len(row.second), row.pairs or len(row.first))
        return replace(row, verdict=ONE_SEED if fewest < 2 else "not shown")
    if adjusted is None or adjusted > ALPHA or row.difference == 0:
        return replace(row, p_adjusted=adjusted, verdict="not shown")
    return replace(row, p_adjusted=adjusted, verdict="better" if (row.difference > 0) == greater else "worse")


def data_obstacle(one: Study, other: Study) -> str | None:
    """Why values of two studies cannot be compared: their trials were scored on other data; None where they can."""
    known = [dict(study._kept.data) for study in (one, other)]
    if not all(known):
        return None  # of an early version: nobody knows
    return None if known[0] == known[1] else "other data"


def _differing(one: Study, other: Study) -> dict[str, tuple[object, object]]:
    """Settings of trials, search and comparisons in which the files differ."""
    keys = (*TRIAL_KEYS, "objective", "search", "confirm", "ablation")
    left, right = (
        flatten({key: study.specification[key] for key in keys if key in study.specification}) for study in (one, other)
    )
    absent = "–"
    names = [name for name in dict.fromkeys([*left, *right]) if name != "data.root"]
    pairs = {name: (left.get(name, absent), right.get(name, absent)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _warnings(one: Study, other: Study, obstacle: str | None) -> Iterator[str]:
    if one.address == other.address:
        yield "both are the same study"
    if obstacle is not None:
        yield "the studies were scored on other data (files, size or split): their values are not compared"
    elif not (one._kept.data and other._kept.data):
        yield "whether both were scored on the same data is not known: one was launched by an early version"
    goals = [[(o.metric, o.mode) for o in study.objectives] for study in (one, other)]
    if goals[0] != goals[1]:
        texts = [" and ".join(f"{metric} ({mode})" for metric, mode in goal) for goal in goals]
        yield f"the studies optimise different things: {texts[0]}, and {texts[1]}; each best was picked for its own"
    sections = [flatten(study.specification) for study in (one, other)]
    epochs = [section.get("train.epochs") for section in sections]
    if epochs[0] != epochs[1]:
        yield f"trials have {epochs[0]} and {epochs[1]} epochs: a difference may be that of longer training"
    scored = [{n: v for n, v in section.items() if n.startswith(PREDICTING)} for section in sections]
    if scored[0] != scored[1]:
        names = [n for n in dict.fromkeys([*scored[0], *scored[1]]) if scored[0].get(n) != scored[1].get(n)]
        yield f"the evaluations differ ({', '.join(names)}): a difference may be that of the scoring"
    for study in (one, other):
        if study.unfinished:
            yield f"{study.name} is unfinished: {len(study.unfinished)} trials without an end"
