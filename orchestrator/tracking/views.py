"""The views of a study in MLflow's pages: a table that says who won, charts that say which tendency there is.

A view is a tag of the experiment, ``mlflow.sharedViewState.KEY``, that an address names; a tag holds 20,000 characters,
so a study of very many or very long names gets fewer charts and columns.
"""

import hashlib
import json
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from orchestrator.store.stage_plan import STAGES, Stage
from orchestrator.tracking.charts import PAGE, Json, comparison_board, search_board
from orchestrator.tracking.entries import key_of
from orchestrator.tracking.study_info import StudyInfo
from trainable.evaluate.metrics.names import CONTEXT_GAP, MIOU, RARE_MIOU

Which = Literal["charts", "confirm", "ablation"] | None
"""Charts of the search or of a stage, or the table."""
TITLES: Mapping[Which, str] = {
    "charts": "charts",
    "confirm": "charts of the confirmation",
    "ablation": "charts of the ablation",
    None: "table",
}
"""What links to the views say, the view whose address is printed first."""
TAG = "mlflow.sharedViewState."
"""Begins the names of tags that hold views."""
MOST_CHARACTERS = 20_000
"""Of a tag of an experiment."""
MOST_PICKS = 10
"""Searched settings among the columns of a view; a table wider than a screen shows nothing."""
MOST_OBJECTIVES = 4
"""Objectives with charts and columns of their own."""
SHOWN = (MIOU, RARE_MIOU, CONTEXT_GAP)
"""Metrics beside the objectives."""
NARROWEST, WIDEST = 90, 190
"""Widths of columns in pixels; MLflow's own cut every name after twelve letters."""


@dataclass(frozen=True)
class View:
    """A view of a study's runs, as links lead to it."""

    title: str
    """What a link to it says."""
    key: str
    """Its name in addresses."""
    charts: bool
    """Whether it opens as charts, else as a table."""

    def address(self, experiment_id: str, server: str = "") -> str:
        """Where a browser opens it; without a server the address is relative to any page of MLflow's."""
        mode = "&compareRunsMode=CHART" if self.charts else ""
        where = f"{server}#/experiments/{experiment_id}/runs"
        return f"{where}?workflowType=machine_learning&viewStateShareKey={self.key}{mode}"


def view_key(study_id: str, which: Which = None) -> str:
    """Name of a study's table in an address, or of another of its views."""
    table = hashlib.sha256(study_id.encode()).hexdigest()[:12]
    return table if which is None else f"{table}-{which}"


def views(study: StudyInfo) -> tuple[View, ...]:
    """The views of a study: the one that is printed first, the table last."""
    return tuple(_view(study.study_id, which) for which in _kinds(study))


def views_of(study_id: str, tags: Container[str]) -> Iterator[View]:
    """The views of a study that an experiment of these tags has."""
    return (view for view in (_view(study_id, which) for which in TITLES) if f"{TAG}{view.key}" in tags)


def view_tags(study: StudyInfo) -> dict[str, str]:
    """The tags of the experiment that hold the study's views, by name."""
    return {f"{TAG}{view_key(study.study_id, which)}": _text(_state(study, which)) for which in _kinds(study)}


def _view(study_id: str, which: Which) -> View:
    return View(TITLES[which], view_key(study_id, which), charts=which is not None)


def _kinds(study: StudyInfo) -> list[Which]:
    search: list[Which] = ["charts"] if study.has_search else []
    return [*search, *(stage for stage in STAGES if study.compares(stage)), None]


def _state(study: StudyInfo, which: Which) -> Json:
    match which:
        case None:
            return _fitting(_table(study))
        case "charts":
            return _fitting(_search(study))
        case _:
            return _fitting(_stage(study, which))


def _table(study: StudyInfo) -> Json:
    objectives = _objectives(study)
    columns = [f"metrics.`{key_of(metric)}`" for metric in objectives]
    columns += [f"params.`{key_of(path)}`" for path in study.columns[:MOST_PICKS]]  # a screen shows the first few
    columns += [f"metrics.`{key_of(metric)}`" for metric in SHOWN if metric not in objectives]
    columns += ["tags.`arm`", "tags.`state`", "tags.`kind`", "tags.`reason`"]
    widths = {name: min(WIDEST, max(NARROWEST, 30 + 8 * (len(name) - name.index("`") - 2))) for name in columns}
    own: Json = {"selectedColumns": columns, "columnOrder": columns, "columnWidths": widths}
    return _rows(study, "tags.kind != 'study'") | own


def _search(study: StudyInfo) -> Json:
    others = "".join(f" and tags.kind != '{kind}'" for kind in ("study", "prefix", *STAGES))
    board = search_board(study.searched, _objectives(study), study.search_trials)
    return _rows(study, others.removeprefix(" and ")) | board.state(_objectives(study))


def _stage(study: StudyInfo, stage: Stage) -> Json:
    runs = study.stage_runs(stage)
    note = f" (first {PAGE} of {runs} runs)" if runs > PAGE else ""
    objectives = _objectives(study)
    board = comparison_board(study.factors, objectives, [name for name in SHOWN if name not in objectives], note)
    state = _rows(study, f"tags.kind = '{stage}'") | board.state(_objectives(study))
    if runs > PAGE:  # the best hundred would say nothing of the arms; the first seeds hold every arm
        state |= {"orderByKey": "tags.`block`", "orderByAsc": True}
    by_arm = {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "arm"}]}
    return state | {"groupBy": by_arm, "useGroupedValuesInCharts": True}


def _objectives(study: StudyInfo) -> list[str]:
    return [objective.metric for objective in study.objectives[:MOST_OBJECTIVES]]


def _rows(study: StudyInfo, kinds: str) -> Json:
    """Which runs, the best first."""
    return {
        "searchFilter": f"tags.study_id = '{study.study_id}' and {kinds}",
        "orderByKey": f"metrics.`{key_of(study.objective.metric)}`",
        "orderByAsc": study.objective.mode == "min",
    }


def _fitting(state: Json) -> Json:
    """The state without the last charts and columns, as far as it is too long for a tag."""
    return next(smaller for smaller in _shorter(state) if len(_text(smaller)) <= MOST_CHARACTERS)


def _text(state: Json) -> str:
    return json.dumps(state, separators=(",", ":"))


def _shorter(state: Json) -> Iterator[Json]:
    yield state
    for name, copies in (("compareRunCharts", ()), ("selectedColumns", ("columnOrder",))):
        items = state.get(name)
        if isinstance(items, list):
            for length in range(len(items) - 1, -1, -1):
                yield {**state, name: items[:length], **dict.fromkeys(copies, items[:length]), "columnWidths": {}}
            state = {**state, name: []}
