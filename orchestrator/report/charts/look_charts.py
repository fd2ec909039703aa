"""The figure of looks at a comparison: each arm's p at each look, and the boundary that it had to pass."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.report.charts.drawing import BETTER, NOT_SHOWN, TEXT, WORSE, panels, plain
from orchestrator.report.sections.comparison_results import StageResults
from orchestrator.report.sections.look_results import LookResults
from orchestrator.store.looks import Decision

MOST_PANELS = 12
"""Arms with a panel; the table holds all."""
_MARKS: dict[Decision, tuple[str, str, str]] = {
    "better": (BETTER, "o", "better"),
    "worse": (WORSE, "s", "worse"),
    "futile": (NOT_SHOWN, "X", "futile"),
    "on": (NOT_SHOWN, ".", "goes on"),
    "not shown": (NOT_SHOWN, "D", "not shown"),
}


def look_paths(stage: StageResults, looks: LookResults) -> Figure:
    """A panel per arm: p by seeds on a logarithmic scale, boundaries as bars, the last decision as a marker."""
    arms = stage.others[:MOST_PANELS]
    columns = min(4, len(arms))
    height = 0.4 + 1.9 * -(-len(arms) // columns)
    figure, axes = panels(len(arms), columns, width=1.0 + 2.3 * columns, height=height, sharex=True, sharey=True)
    for axis, arm in zip(axes, arms, strict=True):
        _panel(axis, looks, arm)
    axes[0].set_yscale("log")
    axes[0].set_ylim(top=1.5)
    axes[0].set_xlim(looks.rule.seeds[0] - 1, looks.rule.seeds[-1] + 1)
    axes[0].set_xticks(looks.rule.seeds)
    figure.supxlabel("seeds", fontsize=TEXT)
    figure.supylabel("p, not adjusted", fontsize=TEXT)
    return figure


def _panel(axis: Axes, looks: LookResults, arm: str) -> None:
    path = [(look.seeds, look.arms[arm]) for look in looks.taken if arm in look.arms]
    axis.plot([seeds for seeds, _ in path], [one.p for _, one in path], color=NOT_SHOWN, linewidth=1.2)
    for seeds, one in path:
        colour, marker, _ = _MARKS[one.decision]
        axis.plot(seeds, one.p, marker, color=colour, markersize=7 if one.decision != "on" else 9)
        if one.boundary is not None:
            axis.plot([seeds - 0.6, seeds + 0.6], [one.boundary] * 2, color="black", linewidth=2)
    end = f": {_MARKS[path[-1][1].decision][2]}" if path else ""
    axis.set_title(plain(f"{arm}{end}", 34))
    axis.grid(axis="y", color="#e5e9ee", linewidth=0.7)
    axis.set_axisbelow(True)
