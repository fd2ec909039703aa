"""Figures of a search: history, importance, slices, parallel coordinates, Pareto front."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from orchestrator.report.charts.drawing import BASELINE, COLOURS, SEQUENTIAL, TEXT, panels, plain
from orchestrator.report.pages.numbers import setting
from orchestrator.report.sections.importance import Importance
from orchestrator.report.sections.searched_settings import Knobs, short_names
from orchestrator.report.source import Floats, Results, Run
from orchestrator.studyfile import Choice, Value

PANELS_PER_ROW = 4
TITLE = 22
"""Characters over a narrow panel; of a longer name the end tells most."""
MOST_AXES = 9
"""Axes of parallel coordinates; more are not readable."""
MANY = 200
"""More marks than these are drawn as an image inside the figure, which keeps the page small."""
_REFERENCES = ((COLOURS[1], "--"), (COLOURS[2], ":"), (COLOURS[3], "-."))


def history(results: Results, trials: Sequence[Run], metric: str) -> Figure:
    """The score of every search trial in order, the best so far, the references."""
    figure, (axis,) = panels(1, 1, width=7.5, height=3.2)
    scores = np.array([_nan(results.last(trial, metric)) for trial in trials])
    complete = np.array([trial.complete for trial in trials])
    at = np.arange(1, len(trials) + 1)
    stopped = ~complete & np.isfinite(scores)
    many = len(trials) > MANY
    if stopped.any():
        axis.plot(at[stopped], scores[stopped], "x", color=BASELINE, markersize=4, alpha=0.7, 
                  label="not trained to its end",
                  rasterized=many)  # fmt: skip
    axis.plot(at[complete], scores[complete], "o", color=COLOURS[0], markersize=4, alpha=0.7, label="complete trial",
              rasterized=many)  # fmt: skip
    best = np.where(complete, scores, np.nan)
    running = np.fmax.accumulate(best) if results.greater_is_better(metric) else np.fmin.accumulate(best)
    axis.step(at, running, where="post", color="black", linewidth=1.2, label="best so far")
    for trial, (colour, style) in zip(_scored(results, results.runs("reference"), metric), _REFERENCES, strict=False):
        name = trial.key.replace("-", ": ", 1)
        axis.axhline(_nan(results.last(trial, metric)), color=colour, linestyle=style, label=name)
    axis.set_xlabel("trial, in the order of the search")
    axis.set_ylabel(plain(metric))
    axis.grid(color="#e5e9ee", linewidth=0.7)
    axis.locator_params(axis="x", integer=True)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def importance_bars(rated: Sequence[Importance]) -> Figure:
    """Share of each setting by each method."""
    names = sorted({n for one in rated for n in one.shares}, key=lambda n: (-max(o.shares.get(n, 0) for o in rated), n))
    short = short_names(names)
    figure, (axis,) = panels(1, 1, width=7.5, height=0.9 + 0.36 * len(names))
    height = 0.8 / len(rated)
    for number, one in enumerate(rated):
        rows = np.arange(len(names)) + (number - (len(rated) - 1) / 2) * height
        axis.barh(rows, [one.shares.get(name, 0) for name in names], height, color=COLOURS[number], label=one.method)
    axis.set_yticks(range(len(names)), [plain(short[name]) for name in names])
    axis.invert_yaxis()
    axis.set_xlabel("share (descriptive)")
    axis.legend(frameon=False, loc="lower right")
    return figure


def slices(results: Results, knobs: Knobs, trials: Sequence[Run], names: Sequence[str], metric: str) -> Figure:
    """Score against each setting, one panel each; where a setting does not apply a trial is not in its panel."""
    columns = min(PANELS_PER_ROW, len(names))
    height = 2.5 * -(-len(names) // columns) + 0.2
    figure, axes = panels(len(names), columns, width=0.8 + 2.4 * columns, height=height, sharey=True)
    short = short_names(names)
    order = {trial.key: number for number, trial in enumerate(trials)}
    for axis, name in zip(axes, names, strict=True):
        having = [trial for trial in trials if name in knobs.picks[trial.key]]
        x = _positions(knobs, name, [knobs.picks[trial.key][name] for trial in having])
        y = [_nan(results.last(trial, metric)) for trial in having]
        if isinstance(knobs.domains[name], Choice):  # beside each other rather than on top
            x = x + np.array([(order[trial.key] * 0.618034) % 1 - 0.5 for trial in having]) * 0.5
        axis.scatter(x, y, c=[order[t.key] for t in having], cmap=SEQUENTIAL, vmin=0, vmax=max(1, len(trials) - 1),
                     s=14, alpha=0.8, linewidths=0, rasterized=len(having) > MANY)  # fmt: skip
        axis.set_title(plain(short[name] if len(short[name]) <= TITLE else f"…{short[name][1 - TITLE :]}"))
        _name_axis(axis, knobs, name)
        axis.grid(axis="y", color="#e5e9ee", linewidth=0.7)
    figure.supylabel(plain(metric), fontsize=TEXT)
    shade = ScalarMappable(Normalize(1, max(2, len(trials))), colormaps[SEQUENTIAL])
    figure.colorbar(shade, ax=axes, label="order in the search", fraction=0.03, aspect=30)
    return figure


def parallel_coordinates(
    results: Results, knobs: Knobs, trials: Sequence[Run], names: Sequence[str], metric: str
) -> Figure:
    """A line per complete trial through its settings to its score; the best ones are drawn last."""
    names = list(names)[:MOST_AXES]
    lines_of = [t for t in _scored(results, trials, metric) if all(name in knobs.picks[t.key] for name in names)]
    scores = np.array([_nan(results.last(trial, metric)) for trial in lines_of])
    columns = [_unit(knobs, name, [knobs.picks[trial.key][name] for trial in lines_of]) for name in names]
    low, high = float(scores.min()), float(scores.max())
    columns.append((scores - low) / ((high - low) or 1.0))
    figure, (axis,) = panels(1, 1, width=1.6 + 1.25 * len(columns), height=3.8)
    shade = ScalarMappable(Normalize(low, high), colormaps[SEQUENTIAL])
    order = np.argsort(scores if results.greater_is_better(metric) else -scores, kind="stable")
    points = np.stack([np.stack([np.arange(len(columns)), row], axis=1) for row in np.stack(columns, axis=1)[order]])
    lines = LineCollection(list(points), colors=shade.to_rgba(scores[order]), linewidths=1, alpha=0.6)
    lines.set_rasterized(len(lines_of) > MANY)
    axis.add_collection(lines)
    axis.set_xlim(-0.3, len(columns) - 0.7)
    axis.set_ylim(-0.1, 1.1)
    short = short_names(names)
    axis.set_xticks(
        range(len(columns)), [plain(label, 24) for label in (*(short[n] for n in names), metric)], rotation=25
    )
    for label in axis.get_xticklabels():
        label.set_horizontalalignment("right")
        label.set_rotation_mode("anchor")
    axis.set_yticks([])
    axis.spines[["left", "bottom"]].set_visible(False)
    for column, name in enumerate(names):
        _mark_axis(axis, column, knobs, name)
    _mark_ends(axis, len(names), f"{low:.4g}", f"{high:.4g}")
    figure.colorbar(shade, ax=axis, label=plain(metric), fraction=0.04, pad=0.02)
    return figure


def pareto(results: Results, trials: Sequence[Run], front: Sequence[Run], metrics: Sequence[str]) -> Figure:
    """Complete trials by the first two objectives; those that no other beats in all objectives are marked."""
    figure, (axis,) = panels(1, 1, width=5.2, height=3.8)
    x, y = metrics[:2]
    for runs, marker, colour, label in (
        (trials, "o", BASELINE, "complete trial"),
        (front, "D", COLOURS[1], "Pareto front"),
        (_scored(results, results.runs("reference"), x), "^", COLOURS[2], "reference"),
    ):
        if runs:
            values = np.array([[_nan(results.last(run, x)), _nan(results.last(run, y))] for run in runs])
            axis.plot(values[:, 0], values[:, 1], marker, color=colour, markersize=5, label=label)
    axis.set_xlabel(_directed(results, x))
    axis.set_ylabel(_directed(results, y))
    axis.grid(color="#e5e9ee", linewidth=0.7)
    axis.legend(frameon=False)
    return figure


def _directed(results: Results, metric: str) -> str:
    return f"{plain(metric)} ({'larger' if results.greater_is_better(metric) else 'smaller'} is better)"


def _scored(results: Results, trials: Sequence[Run], metric: str) -> list[Run]:
    return [trial for trial in trials if trial.complete and results.last(trial, metric) is not None]


def _positions(knobs: Knobs, name: str, values: Sequence[Value]) -> Floats:
    """Where the values lie on an axis: options by their position."""
    domain = knobs.domains[name]
    if isinstance(domain, Choice):
        return np.array([domain.labels.index(value) for value in values], dtype=np.float64)
    return np.array(values, dtype=np.float64)


def _unit(knobs: Knobs, name: str, values: Sequence[Value]) -> Floats:
    """The values on an axis from 0 to 1."""
    domain, x = knobs.domains[name], _positions(knobs, name, values)
    if isinstance(domain, Choice):
        return x / max(1, len(domain.labels) - 1)
    low, high = float(domain.low), float(domain.high)
    if domain.log:
        x, low, high = np.log(x), float(np.log(low)), float(np.log(high))
    unit: Floats = (x - low) / (high - low)
    return unit


def _name_axis(axis: Axes, knobs: Knobs, name: str) -> None:
    domain = knobs.domains[name]
    if isinstance(domain, Choice):
        labels = [plain(setting(label), 18) for label in domain.labels]
        rotation, ha = (35, "right") if len(labels) > 2 else (0, "center")
        axis.set_xticks(range(len(labels)), labels, rotation=rotation, ha=ha)
        axis.set_xlim(-0.6, len(labels) - 0.4)
    elif domain.log:
        axis.set_xscale("log")
    else:
        axis.locator_params(axis="x", nbins=4)


def _mark_axis(axis: Axes, column: int, knobs: Knobs, name: str) -> None:
    domain = knobs.domains[name]
    if not isinstance(domain, Choice):
        _mark_ends(axis, column, f"{domain.low:.4g}", f"{domain.high:.4g}" + (" (log)" if domain.log else ""))
        return
    axis.vlines(column, 0, 1, color="black", linewidth=0.8)
    for index, label in enumerate(domain.labels):
        at = index / max(1, len(domain.labels) - 1)
        axis.text(column + 0.03, at, plain(setting(label), 20), fontsize=TEXT - 2, va="center",
                  bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.8})  # fmt: skip


def _mark_ends(axis: Axes, column: int, low: str, high: str) -> None:
    axis.vlines(column, 0, 1, color="black", linewidth=0.8)
    axis.text(column, -0.02, low, fontsize=TEXT - 2, ha="center", va="top")
    axis.text(column, 1.02, high, fontsize=TEXT - 2, ha="center", va="bottom")


def _nan(value: float | None) -> float:
    return np.nan if value is None else value
