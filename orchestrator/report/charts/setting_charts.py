"""Figures of what a search's scores vary with: importance, slices, parallel coordinates."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from orchestrator.report.charts.drawing import COLOURS, REFERENCES, SEQUENTIAL, TEXT, panels, plain, wrapped
from orchestrator.report.charts.search_charts import MANY, nan_for_none, scored
from orchestrator.report.sections.importance import Importance
from orchestrator.report.sections.searched_settings import Knobs, short_names
from orchestrator.report.source import Floats, Results, Run
from orchestrator.store.short_picks import short_value
from orchestrator.store.trial_record import reference_name
from orchestrator.studyfile import Choice, Value

PANELS_PER_ROW = 3
TITLE = 30
"""Characters of a line over a panel; longer names take two."""
MOST_AXES = 9
"""Axes of parallel coordinates; more are not readable."""
LABEL = 26
"""Characters of an option's name; of a longer one the first."""
INCHES_PER_LETTER = 0.07
BETWEEN = 1.15
"""Inches that lines have from one axis to the next."""


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
    """Score against each setting, one panel each, and the references' scores as lines.

    Where a setting does not apply a trial is not in its panel.
    """
    columns = min(PANELS_PER_ROW, len(names))
    height = 3.0 * -(-len(names) // columns) + 0.5
    figure, axes = panels(len(names), columns, width=1.0 + 3.3 * columns, height=height, sharey=True)
    short = short_names(names)
    order = {trial.key: number for number, trial in enumerate(trials)}
    for axis, name in zip(axes, names, strict=True):
        _slice(axis, results, knobs, [trial for trial in trials if name in knobs.picks[trial.key]], name, metric, order)
        axis.set_title(wrapped(short[name], TITLE))
    figure.supylabel(plain(metric), fontsize=TEXT)
    shade = ScalarMappable(Normalize(1, max(2, len(trials))), colormaps[SEQUENTIAL])
    figure.colorbar(shade, ax=axes, label="order in the search", fraction=0.03, aspect=30)
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    return figure


def _slice(
    axis: Axes,
    results: Results,
    knobs: Knobs,
    having: Sequence[Run],
    name: str,
    metric: str,
    order: dict[str, int],
) -> None:
    at = _positions(knobs, name, [knobs.picks[trial.key][name] for trial in having])
    y = np.array([nan_for_none(results.last(trial, metric)) for trial in having])
    x = at
    if isinstance(knobs.domains[name], Choice):  # beside each other rather than on top, with the median of each option
        x = at + np.array([(order[trial.key] * 0.618034) % 1 - 0.5 for trial in having]) * 0.5
        for option in np.unique(at):
            axis.hlines(np.nanmedian(y[at == option]), option - 0.38, option + 0.38, color="black", linewidth=1.4)
    axis.scatter(x, y, c=[order[t.key] for t in having], cmap=SEQUENTIAL, vmin=0, vmax=max(1, len(order) - 1),
                 s=30, alpha=0.85, linewidths=0.4, edgecolors="white", zorder=3,
                 rasterized=len(having) > MANY)  # fmt: skip
    for run, (colour, style) in zip(scored(results, results.runs("reference"), metric), REFERENCES, strict=False):
        label = plain(reference_name(run.key))
        axis.axhline(nan_for_none(results.last(run, metric)), color=colour, linestyle=style, linewidth=1.3, label=label)
    _name_axis(axis, knobs, name)
    axis.grid(axis="y", color="#e5e9ee", linewidth=0.7)


def parallel_coordinates(
    results: Results, knobs: Knobs, trials: Sequence[Run], names: Sequence[str], metric: str
) -> Figure:
    """A line per complete trial through its settings to its score; the best ones are drawn last.

    Lines leave room for the names of options, which stand to the right of their axis.
    """
    names = list(names)[:MOST_AXES]
    lines_of = [t for t in scored(results, trials, metric) if all(name in knobs.picks[t.key] for name in names)]
    scores = np.array([nan_for_none(results.last(trial, metric)) for trial in lines_of])
    columns = [_unit(knobs, name, [knobs.picks[trial.key][name] for trial in lines_of]) for name in names]
    low, high = float(scores.min()), float(scores.max())
    columns.append((scores - low) / ((high - low) or 1.0))
    rooms = [*(_room(knobs, name) for name in names), 0.0]
    places = np.concatenate([[0.0], np.cumsum([room + BETWEEN for room in rooms[:-1]])])
    figure, (axis,) = panels(1, 1, width=float(places[-1]) + 2.4, height=4.2)
    shade = ScalarMappable(Normalize(low, high), colormaps[SEQUENTIAL])
    order = np.argsort(scores if results.greater_is_better(metric) else -scores, kind="stable")
    segments = list(_segments(np.stack(columns, axis=1)[order], places, rooms))
    colours = np.repeat(shade.to_rgba(scores[order]), len(columns) - 1, axis=0)
    lines = LineCollection(segments, colors=colours, linewidths=1.3, alpha=0.7)
    lines.set_rasterized(len(lines_of) > MANY)
    axis.add_collection(lines)
    axis.set_xlim(-0.4, places[-1] + 0.4)
    axis.set_ylim(-0.12, 1.12)
    short = short_names(names)
    heads = [*(wrapped(short[name], 18) for name in names), wrapped(metric, 18)]
    axis.set_xticks(places, heads, fontsize=TEXT)
    axis.tick_params(axis="x", length=0, pad=4)
    axis.set_yticks([])
    axis.spines[["left", "bottom"]].set_visible(False)
    for place, name in zip(places, names, strict=False):
        _mark_axis(axis, place, knobs, name)
    _mark_ends(axis, places[-1], f"{low:.4g}", f"{high:.4g}")
    figure.colorbar(shade, ax=axis, label=plain(metric), fraction=0.03, pad=0.01)
    return figure


def _segments(units: Floats, places: Floats, rooms: Sequence[float]) -> Iterator[list[tuple[float, float]]]:
    """The pieces of each trial's line, from behind the names of one axis to the next axis."""
    for row in units.tolist():
        for column in range(len(row) - 1):
            begin = float(places[column]) + rooms[column]
            yield [(begin, row[column]), (float(places[column + 1]), row[column + 1])]


def _room(knobs: Knobs, name: str) -> float:
    """Inches that the names of an axis take."""
    domain = knobs.domains[name]
    if not isinstance(domain, Choice):
        return 0.0
    return 0.16 + INCHES_PER_LETTER * max(len(_label(label)) for label in domain.labels)


def _label(value: Value) -> str:
    return plain(short_value(value), LABEL)


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
        labels = [_label(label) for label in domain.labels]
        turned = len(labels) > 2 or max(map(len, labels)) > 14
        axis.set_xticks(range(len(labels)), labels, rotation=40 if turned else 0, ha="right" if turned else "center")
        for label in axis.get_xticklabels():
            label.set_rotation_mode("anchor")
        axis.set_xlim(-0.6, len(labels) - 0.4)
    elif domain.log:
        axis.set_xscale("log")
    else:
        axis.locator_params(axis="x", nbins=4)


def _mark_axis(axis: Axes, place: float, knobs: Knobs, name: str) -> None:
    domain = knobs.domains[name]
    if not isinstance(domain, Choice):
        _mark_ends(axis, place, f"{domain.low:.4g}", f"{domain.high:.4g}" + (" (log)" if domain.log else ""))
        return
    axis.vlines(place, 0, 1, color="black", linewidth=0.8)
    for index, label in enumerate(domain.labels):
        at = index / max(1, len(domain.labels) - 1)
        axis.plot(place, at, "o", color="black", markersize=3)
        axis.text(place + 0.06, at, _label(label), fontsize=TEXT, va="center")


def _mark_ends(axis: Axes, place: float, low: str, high: str) -> None:
    axis.vlines(place, 0, 1, color="black", linewidth=0.8)
    axis.text(place, -0.03, low, fontsize=TEXT, ha="center", va="top")
    axis.text(place, 1.03, high, fontsize=TEXT, ha="center", va="bottom")
