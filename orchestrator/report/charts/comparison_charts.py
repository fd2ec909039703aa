"""Figures of a comparison: means of the arms, forest plot, learning curves, per-class heat map."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from orchestrator.report.charts.drawing import (
    BASELINE,
    BETTER,
    COLOURS,
    DIVERGING,
    NOT_SHOWN,
    TEXT,
    WORSE,
    panels,
    plain,
)
from orchestrator.report.sections.comparison_results import StageResults, significant, verdict
from orchestrator.report.source import Floats
from orchestrator.report.statistics.sign_flip import CONFIDENCE, mean_interval

PANELS_PER_ROW = 3
MOST_ROWS = 40
"""Arms of a figure with a row for each; the tables hold all."""
MOST_PANELS = 12
"""Arms of a figure with a panel for each."""
_VERDICTS = {"better": (BETTER, "o"), "worse": (WORSE, "s"), "not shown": (NOT_SHOWN, "D")}
"""Colour and marker: told apart without colours too."""


def forest(stage: StageResults, metrics: Sequence[str]) -> Figure:
    """Difference of each arm to the baseline with its interval; a panel per metric."""
    arms = stage.others[:MOST_ROWS]
    figure, axes = _metric_panels(metrics, arms)
    for axis, metric in zip(axes, metrics, strict=True):
        _forest_panel(axis, stage, arms, metric)
    axes[0].invert_yaxis()  # shared by all
    handles = [
        axes[0].plot([], [], marker, color=colour, label=word)[0] for word, (colour, marker) in _VERDICTS.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _metric_panels(metrics: Sequence[str], arms: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """An empty figure of a panel per metric, with a row for each arm."""
    columns = 2 if len(metrics) in (2, 4) else min(PANELS_PER_ROW, len(metrics))
    height = -(-len(metrics) // columns) * (0.3 * len(arms) + 1.1) + 0.3
    return panels(len(metrics), columns, width=2.2 + 3.1 * columns, height=height, sharey=True)


def _forest_panel(axis: Axes, stage: StageResults, arms: Sequence[str], metric: str) -> None:
    axis.axvline(0, color="black", linewidth=0.8)
    for row, arm in enumerate(arms):
        paired = stage.differences(metric)[arm]
        colour, marker = _VERDICTS[verdict(paired)]
        if paired.low is not None and paired.high is not None:
            axis.plot([paired.low, paired.high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
        if paired.n:
            axis.plot(paired.difference, row, marker, color=colour, markersize=6)
        else:
            axis.text(0, row, " no pair", va="center", fontsize=TEXT - 1, color=NOT_SHOWN)
    _label(axis, stage, arms, metric, f"Δ to {plain(stage.plan.baseline, 20)}; ")


def arm_means(stage: StageResults, metrics: Sequence[str]) -> Figure:
    """Every run as a dot, the mean of each arm with its interval over seeds; a panel per metric."""
    arms = [arm.name for arm in stage.arms[:MOST_ROWS]]
    figure, axes = _metric_panels(metrics, arms)
    for axis, metric in zip(axes, metrics, strict=True):
        for row, arm in enumerate(arms):
            _runs(axis, row, list(stage.values(metric)[arm].values()), BASELINE if row == 0 else BETTER)
        _label(axis, stage, arms, metric)
    axes[0].invert_yaxis()  # shared by all
    return figure


def _runs(axis: Axes, row: int, values: Sequence[float], colour: str) -> None:
    if not values:
        axis.text(0.02, row, "no run", va="center", fontsize=TEXT - 1, color=NOT_SHOWN,
                  transform=axis.get_yaxis_transform())  # fmt: skip
        return
    axis.plot(values, [row] * len(values), "o", color=colour, alpha=0.3, markersize=3, markeredgewidth=0)
    low, high = mean_interval(values)
    if low is not None and high is not None:
        axis.plot([low, high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
    axis.plot(np.mean(values), row, "o", color=colour, markersize=6)


def _label(axis: Axes, stage: StageResults, arms: Sequence[str], metric: str, what: str = "") -> None:
    """Name the arms by row, and say which side is better."""
    axis.set_title(plain(metric))
    axis.set_xlabel(f"{what}better to the {'right' if stage.results.greater_is_better(metric) else 'left'}")
    axis.set_yticks(range(len(arms)), [plain(arm, 28) for arm in arms])
    axis.set_ylim(-0.6, len(arms) - 0.4)
    axis.grid(axis="x", color="#e5e9ee", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.locator_params(axis="x", nbins=5)


def learning_curves(stage: StageResults, metric: str) -> Figure:
    """Mean over seeds and its t band by epoch: each arm in a panel of its own, before the baseline in grey."""
    curves = {arm.name: _curves(stage, arm.name, metric) for arm in stage.arms}
    arms = ([name for name in stage.others if curves[name] is not None] or [stage.plan.baseline])[:MOST_PANELS]
    columns = min(PANELS_PER_ROW, len(arms))
    height = 2.1 * -(-len(arms) // columns) + 0.3
    figure, axes = panels(len(arms), columns, width=1 + 2.9 * columns, height=height, sharex=True, sharey=True)
    for number, (axis, arm) in enumerate(zip(axes, arms, strict=True)):
        _band(axis, curves[stage.plan.baseline], BASELINE, stage.plan.baseline, "--")
        if arm != stage.plan.baseline:
            _band(axis, curves[arm], COLOURS[number % len(COLOURS)], arm, "-")
        axis.set_title(plain(arm, 32))
        axis.locator_params(axis="x", integer=True, nbins=5)
        axis.grid(color="#e5e9ee", linewidth=0.7)
    figure.supxlabel("epoch", fontsize=TEXT)
    figure.supylabel(plain(metric), fontsize=TEXT)
    return figure


def _curves(stage: StageResults, arm: str, metric: str) -> Floats | None:
    """Values of the complete runs [runs, epochs]; shorter ones end in NaN. None where there is none."""
    curves = [stage.results.curve(run, metric) for run in stage.complete(arm)]
    table = np.full((len(curves), max(map(len, curves), default=0)), np.nan)
    for row, curve in zip(table, curves, strict=True):
        row[: len(curve)] = curve
    return table if np.isfinite(table).any() else None


def _band(axis: Axes, curves: Floats | None, colour: str, name: str, style: str) -> None:
    if curves is None:
        return
    from scipy.special import stdtrit  # late: only comparisons ask

    epochs = np.arange(1, curves.shape[1] + 1)
    n = np.isfinite(curves).sum(axis=0)
    mean = np.nansum(curves, axis=0) / np.where(n > 0, n, np.nan)
    axis.plot(epochs, mean, style, color=colour, linewidth=1.6, label=plain(name), marker="." if len(mean) == 1 else "")
    spread = np.sqrt(np.nansum((curves - mean) ** 2, axis=0) / np.where(n > 1, n - 1, np.nan))
    half = stdtrit(np.maximum(n - 1, 1), (1 + CONFIDENCE) / 2) * spread / np.sqrt(np.maximum(n, 1))
    axis.fill_between(epochs, mean - half, mean + half, color=colour, alpha=0.2, linewidth=0)


def class_heat_map(stage: StageResults) -> Figure:
    """Difference of IoU to the baseline by class and arm; frames mark those that stand after correction."""
    arms = stage.others[:MOST_ROWS]
    differences = np.array([[stage.class_differences[name, arm].difference for name in stage.classes] for arm in arms])
    classes = len(stage.classes)
    figure, (axis,) = panels(1, 1, width=2.6 + 0.62 * classes, height=1.7 + 0.36 * len(arms))
    largest = float(np.nanmax(np.abs(differences))) if np.isfinite(differences).any() else 0.0
    norm = TwoSlopeNorm(0, -(largest or 1.0), largest or 1.0)
    image = axis.imshow(np.ma.masked_invalid(differences), cmap=DIVERGING, norm=norm, aspect="auto")
    axis.set_facecolor("#eeeeee")
    axis.set_xticks(
        range(classes), [plain(stage.class_label(name), 24) for name in stage.classes], rotation=40, ha="right"
    )
    axis.set_yticks(range(len(arms)), [plain(arm, 28) for arm in arms])
    for label, name in zip(axis.get_xticklabels(), stage.classes, strict=True):
        label.set_rotation_mode("anchor")
        label.set_fontweight("bold" if name in (stage.results.rare or ()) else "normal")
    for (row, column), value in np.ndenumerate(differences):
        if np.isfinite(value):
            light = abs(value) > 0.6 * largest
            axis.text(column, row, f"{value:+.3f}".replace("-", "−"), ha="center", va="center",
                      fontsize=TEXT - 2, color="white" if light else "black")  # fmt: skip
        if significant(stage.class_differences[stage.classes[column], arms[row]]):
            axis.add_patch(_frame(column, row))
    figure.colorbar(image, ax=axis, label="Δ IoU", fraction=0.05, pad=0.02)
    return figure


def _frame(column: int, row: int) -> Rectangle:
    return Rectangle((column - 0.47, row - 0.44), 0.94, 0.88, fill=False, edgecolor="black", linewidth=1.6)
