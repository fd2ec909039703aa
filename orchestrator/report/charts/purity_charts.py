"""How far the channels have become exclusive to classes, beside random weights."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.report.charts.comparison_charts import MOST_PANELS, PANELS_PER_ROW
from orchestrator.report.charts.drawing import BASELINE, COLOURS, TEXT, panels, plain
from orchestrator.report.source import Floats, Results, Run
from trainable.evaluate.metrics.names import CHANNEL_PURITY, PURITY_ABOVE_CHANCE


def purity_curves(results: Results, groups: Mapping[str, Sequence[Run]]) -> Figure:
    """Channel purity by epoch, mean over the runs of each group, and that of random weights; a panel per group."""
    names = list(groups)[:MOST_PANELS]
    columns = min(PANELS_PER_ROW, len(names))
    height = 2.1 * -(-len(names) // columns) + 0.6
    figure, axes = panels(len(names), columns, width=1 + 2.9 * columns, height=height, sharex=True, sharey=True)
    for axis, name in zip(axes, names, strict=True):
        purity = _mean_curve([results.curve(run, CHANNEL_PURITY) for run in groups[name]])
        above = _mean_curve([results.curve(run, PURITY_ABOVE_CHANCE) for run in groups[name]])
        _line(axis, purity, COLOURS[0], "-", "channel purity")
        _line(axis, purity - above, BASELINE, "--", "random weights")
        axis.set_title(plain(name, 32))
        axis.locator_params(axis="x", integer=True, nbins=5)
        axis.grid(color="#e5e9ee", linewidth=0.7)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    figure.supxlabel("epoch", fontsize=TEXT)
    return figure


def _line(axis: Axes, values: Floats, colour: str, style: str, name: str) -> None:
    epochs = np.arange(1, len(values) + 1)
    axis.plot(epochs, values, style, color=colour, linewidth=1.6, label=name, marker="." if len(values) == 1 else "")


def _mean_curve(curves: Sequence[Floats]) -> Floats:
    """Mean over the runs that have a value, by epoch."""
    table = np.full((len(curves), max(map(len, curves), default=0)), np.nan)
    for row, curve in zip(table, curves, strict=True):
        row[: len(curve)] = curve
    known = np.isfinite(table).sum(axis=0)
    mean: Floats = np.nansum(table, axis=0) / np.where(known > 0, known, np.nan)
    return mean
