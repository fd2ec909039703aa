"""Figures of a search: history and Pareto front."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from orchestrator.report.charts.drawing import BASELINE, COLOURS, REFERENCES, panels, plain
from orchestrator.report.source import Results, Run

MANY = 200
"""More marks than these are drawn as an image inside the figure, which keeps the page small."""


def history(results: Results, trials: Sequence[Run], metric: str) -> Figure:
    """The score of every search trial in order, the best so far, the references."""
    figure, (axis,) = panels(1, 1, width=8.5, height=3.4)
    scores = np.array([nan_for_none(results.last(trial, metric)) for trial in trials])
    complete = np.array([trial.complete for trial in trials])
    at = np.arange(1, len(trials) + 1)
    for marker, colour, label, those in (
        ("x", BASELINE, "not trained to its end", ~complete & np.isfinite(scores)),
        ("o", COLOURS[0], "complete trial", complete),
    ):
        if those.any():
            axis.plot(at[those], scores[those], marker, color=colour, markersize=5, alpha=0.8, label=label,
                      rasterized=len(trials) > MANY)  # fmt: skip
    best = np.where(complete, scores, np.nan)
    running = np.fmax.accumulate(best) if results.greater_is_better(metric) else np.fmin.accumulate(best)
    axis.step(at, running, where="post", color="black", linewidth=1.2, label="best so far")
    for trial, (colour, style) in zip(scored(results, results.runs("reference"), metric), REFERENCES, strict=False):
        name = trial.key.replace("-", ": ", 1)
        axis.axhline(nan_for_none(results.last(trial, metric)), color=colour, linestyle=style, label=name)
    axis.set_xlabel("trial, in the order of the search")
    axis.set_ylabel(plain(metric))
    axis.grid(color="#e5e9ee", linewidth=0.7)
    axis.locator_params(axis="x", integer=True)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def pareto(results: Results, trials: Sequence[Run], front: Sequence[Run], metrics: Sequence[str]) -> Figure:
    """Complete trials by the first two objectives; those that no other beats in all objectives are marked."""
    figure, (axis,) = panels(1, 1, width=5.2, height=3.8)
    x, y = metrics[:2]
    for runs, marker, colour, label in (
        (trials, "o", BASELINE, "complete trial"),
        (front, "D", COLOURS[1], "Pareto front"),
        (scored(results, results.runs("reference"), x), "^", COLOURS[2], "reference"),
    ):
        if runs:
            values = np.array(
                [[nan_for_none(results.last(run, x)), nan_for_none(results.last(run, y))] for run in runs]
            )
            axis.plot(values[:, 0], values[:, 1], marker, color=colour, markersize=5, label=label)
    axis.set_xlabel(_directed(results, x))
    axis.set_ylabel(_directed(results, y))
    axis.grid(color="#e5e9ee", linewidth=0.7)
    axis.legend(frameon=False)
    return figure


def _directed(results: Results, metric: str) -> str:
    return f"{plain(metric)} ({'larger' if results.greater_is_better(metric) else 'smaller'} is better)"


def scored(results: Results, trials: Sequence[Run], metric: str) -> list[Run]:
    """Complete runs that have a value of the last epoch."""
    return [trial for trial in trials if trial.complete and results.last(trial, metric) is not None]


def nan_for_none(value: float | None) -> float:
    """A value to draw; NaN draws nothing."""
    return np.nan if value is None else value
