"""Studies as data frames."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import pandas as pd

from orchestrator.api.trial import Trial
from orchestrator.report.sections.comparison_results import StageResults, verdict
from orchestrator.report.source import Results
from orchestrator.report.statistics.paired import PairedDifference
from orchestrator.store.flat_config import flatten
from orchestrator.store.results_table import PARAM, PICK
from orchestrator.studyfile import Objective
from trainable.configfile.node import Scalar
from trainable.evaluate.metrics.best_epoch import best_epoch_label

Row = dict[str, object]

DIFFERENCES = (
    "stage", "metric", "role", "baseline", "arm", "n", "baseline_mean", "arm_mean", "difference", "low", "high",
    "p_nominal", "p_adjusted", "better_share", "verdict",
)  # fmt: skip
"""Columns of paired differences. ``low`` and ``high`` bound the 95 % interval of the mean difference."""


def trial_frame(
    trials: Sequence[Trial], objectives: Sequence[Objective], *, all_settings: bool = False
) -> pd.DataFrame:
    """A row per trial; ``Study.frame`` says which columns."""
    settings = [flatten(trial.config) for trial in trials]
    wanted = _settings(settings, all_settings=all_settings)
    rows = [
        _row(trial, {name: own.get(name) for name in wanted}, objectives)
        for trial, own in zip(trials, settings, strict=True)
    ]
    names = dict.fromkeys(["kind", "arm", "block", "seed", "state", "reason", "epochs"])
    names |= dict.fromkeys(sorted({name for row in rows for name in row if name.startswith(PICK)}))
    names |= dict.fromkeys(f"{PARAM}{name}" for name in wanted)
    for objective in objectives:
        names |= dict.fromkeys((objective.metric, best_epoch_column(objective)))
    names |= dict.fromkeys(name for row in rows for name in row)
    index = pd.Index([trial.key for trial in trials], name="trial")
    frame = pd.DataFrame([[row.get(name) for name in names] for row in rows], index=index, columns=list(names))
    return _whole(frame)


def best_epoch_column(objective: Objective) -> str:
    """Name of the column of an objective's best epochs: it says that they are biased."""
    return f"{objective.metric}, {best_epoch_label(greater=objective.mode == 'max')}"


def epoch_frame(trials: Sequence[Trial]) -> pd.DataFrame:
    """A row per trial and epoch."""
    heads = ("trial", "kind", "arm", "block", "seed", "epoch")
    rows: list[Row] = [
        {
            "trial": trial.key, "kind": trial.kind, "arm": trial.arm, "block": trial.block, "seed": trial.seed,
            "epoch": epoch, **metrics,
        }
        for trial in trials
        for epoch, metrics in enumerate(trial.epochs, start=1)
    ]  # fmt: skip
    names = dict.fromkeys([*heads, *(name for row in rows for name in row)])
    return _whole(pd.DataFrame([[row.get(name) for name in names] for row in rows], columns=list(names)))


def difference_frame(results: Results, metrics: Sequence[str]) -> pd.DataFrame:
    """A row per stage, metric and arm that is compared with the baseline."""
    rows = [
        difference_row(stage.plan.stage, paired, objective=metric in results.objective_metrics)
        for stage in (StageResults(results, plan) for plan in results.plans.values())
        for metric in metrics
        for paired in stage.differences(metric).values()
    ]
    return pd.DataFrame(rows, columns=list(DIFFERENCES))


def difference_row(stage: str, paired: PairedDifference, *, objective: bool) -> Row:
    """A paired difference as a row."""
    known = asdict(paired)
    row = {name: known[name] for name in DIFFERENCES if name in known}
    return {
        **row,
        "stage": stage,
        "role": "objective" if objective else "exploratory",
        "p_nominal": paired.p,
        "better_share": paired.improvement,
        "verdict": verdict(paired),
    }


def _row(trial: Trial, settings: Mapping[str, Scalar], objectives: Sequence[Objective]) -> Row:
    row: Row = {
        "kind": trial.kind, "arm": trial.arm, "block": trial.block, "seed": trial.seed, "state": str(trial.state),
        "reason": trial.reason, "epochs": len(trial.epochs),
    }  # fmt: skip
    row |= {f"{PICK}{name}": value for name, value in trial.picks.items()}
    row |= {f"{PARAM}{name}": value for name, value in settings.items()}
    for objective in objectives:
        best = trial.best_epoch_of(objective)
        row |= {objective.metric: None, best_epoch_column(objective): None if best is None else best.value}
    return row | dict(trial.metrics)


def _settings(settings: Sequence[Mapping[str, Scalar]], *, all_settings: bool) -> list[str]:
    """Dotted paths of the settings to show; the seed is a column of its own."""
    names = dict.fromkeys(name for own in settings for name in own if name != "seed")
    missing = object()
    differing = [name for name in names if len({repr(own.get(name, missing)) for own in settings}) > 1]
    return list(names) if all_settings else differing


def _whole(frame: pd.DataFrame) -> pd.DataFrame:
    """Whole numbers that some rows lack stay whole numbers: pandas would make them 3.0."""
    for name in ("block", "epoch", "epochs", "seed"):
        if name in frame.columns:
            frame[name] = frame[name].astype("Int64")
    return frame
