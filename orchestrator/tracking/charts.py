"""Charts of MLflow's pages, as the state of a shared view holds them. Pure.

The shapes are those of the pages of MLflow 3.17 (``RunsChartsCardConfig``): MLflow documents none of them. A chart that
a later version does not know is left out by it, and its pages make the usual ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

from orchestrator.tracking.entries import key_of
from orchestrator.tracking.searched import Searched

Json = dict[str, object]

MOST_AXES = 9
"""Settings of the parallel coordinates; more lie too close to be read."""
MOST_SCATTERS = 12
"""Settings that are drawn against an objective."""
MOST_PAIRS = 3
"""Pairs of objectives that are drawn against each other."""
TALL, USUAL = 400, 330
"""Heights of charts in pixels."""
PAGE = 100
"""Runs that MLflow's pages load at once; more come with Load more."""
CLOSED = ("val", "val/iou", "train", "suppression", "model", "Model metrics")
"""Sections that MLflow makes of the other metrics by itself, behind ours: closed at first."""


@dataclass
class Board:
    """Sections of charts in the order in which a page shows them."""

    charts: list[Json] = field(default_factory=list)
    sections: list[Json] = field(default_factory=list)

    def section(self, name: str, columns: int, height: int = USUAL, *, opened: bool = True) -> str:
        """Begin a section; returns what its charts refer to."""
        uuid = f"s{len(self.sections)}"
        own: Json = {"columns": columns, "cardHeight": height}
        self.sections.append({"uuid": uuid, "name": name, "display": opened, "isReordered": True, **own})
        return uuid

    def add(self, section: str, kind: str, **settings: object) -> None:
        """Add a chart to a section."""
        chart: Json = {"uuid": f"c{len(self.charts)}", "type": kind, "metricSectionId": section, "deleted": False}
        self.charts.append({**chart, "isGenerated": False, **settings})

    def state(self, closed: Sequence[str] = ()) -> Json:
        """The part of a view's state that holds the charts; further sections that MLflow makes are ``closed``."""
        usual: list[Json] = [
            {"uuid": f"m{index}", "name": name, "display": False, "isReordered": False}
            for index, name in enumerate((*CLOSED, *closed))
        ]
        return {
            "compareRunCharts": self.charts,
            "compareRunSections": [*self.sections, *usual],
            "isAccordionReordered": True,  # else our sections are sorted in between MLflow's by name
            "runsHiddenMode": "SHOW_ALL",  # else ten runs are drawn
            "hideEmptyCharts": True,
        }


def search_board(settings: Sequence[Searched], objectives: Sequence[str], trials: int) -> Board:
    """Charts of a search: what tends to score well, which trial does, and how it got there.

    Args:
        settings: What the search picks, the most asked for first.
        objectives: Metrics that are optimised.
        trials: How many trials there will be.
    """
    board = Board()
    part = f" (best {PAGE} of {trials})" if trials > PAGE else ""
    axes = [key_of(setting.path) for setting in settings if setting.always][:MOST_AXES]
    if axes:
        section = board.section(f"What each trial picked and reached{part}", columns=1, height=TALL)
        board.add(
            section, "PARALLEL", selectedParams=axes, selectedMetrics=list(map(key_of, objectives)), showAllRuns=True
        )
    for objective in objectives:
        _scatters(board, [setting for setting in settings if setting.always], objective)
    for objective in objectives:
        _by_run(board, objective, f"{objective} by trial and epoch{part}")
    if pairs := list(combinations(objectives, 2))[:MOST_PAIRS]:
        section = board.section("Objectives against each other", columns=len(pairs))
        for one, other in pairs:
            board.add(section, "SCATTER", xaxis=_metric(one), yaxis=_metric(other), runsCountToCompare=PAGE)
    for objective in objectives:  # few trials have them
        _scatters(board, [setting for setting in settings if not setting.always], objective, of="options")
    return board


def comparison_board(
    settings: Sequence[Searched], objectives: Sequence[str], others: Sequence[str], note: str
) -> Board:
    """Charts of a comparison, whose runs are grouped by arm: every value is the mean over an arm's runs.

    Args:
        settings: Factors that differ between arms.
        objectives: Metrics that are optimised.
        others: Further metrics, a bar per arm.
        note: What a reader of the means must know.
    """
    board = Board()
    for objective in objectives:
        _by_run(board, objective, f"{objective} by arm (mean) and epoch{note}")
    if others:
        section = board.section(f"Other metrics by arm (mean){note}", columns=min(3, len(others)))
        for metric in others:
            board.add(section, "BAR", metricKey=key_of(metric), displayName=metric)
    numeric = [setting for setting in settings if setting.numeric]
    for objective in objectives if numeric else ():
        _scatters(board, numeric, objective)
    return board


def _by_run(board: Board, objective: str, title: str) -> None:
    section, key = board.section(title, columns=2, height=TALL), key_of(objective)
    board.add(section, "BAR", metricKey=key, displayName=f"{objective}, last epoch", runsCountToCompare=PAGE)
    board.add(
        section, "LINE", metricKey=key, selectedMetricKeys=[key], displayName=f"{objective} by epoch", xAxisKey="step",
        lineSmoothness=0, scaleType="linear", useGlobalXaxisKey=False, useGlobalLineSmoothing=False,
        runsCountToCompare=PAGE,
    )  # fmt: skip


def _scatters(board: Board, settings: Sequence[Searched], objective: str, of: str = "") -> None:
    if not settings:
        return
    drawn = settings[:MOST_SCATTERS]
    name = f"{objective} by setting" + (f" of {of}" if of else "")
    section = board.section(name, columns=min(3, len(drawn)), opened=not of)
    for setting in drawn:
        board.add(section, "SCATTER", xaxis=_param(setting), yaxis=_metric(objective), runsCountToCompare=PAGE)


def _param(setting: Searched) -> Json:
    return {"key": key_of(setting.path), "type": "PARAM"}


def _metric(name: str) -> Json:
    return {"key": key_of(name), "type": "METRIC"}
