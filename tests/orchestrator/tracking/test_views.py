"""The views of a study: what MLflow's pages read of them, and that they always fit into a tag."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.store.kept_study import KeptStudy
from orchestrator.store.records import Store
from orchestrator.store.stage_plan import Arm, StagePlan
from orchestrator.tracking.study_info import StudyInfo
from orchestrator.tracking.views import MOST_CHARACTERS, view_key, view_tags, views, views_of

TRIAL = {
    "data": {"name": "shapes"},
    "model": {"arch": "fpn", "encoder": "resnet18", "encoder_weights": None},
    "train": {"epochs": 4, "batch_size": 20, "lr": {"log_uniform": [1e-4, 1e-2]}},
    "suppression": {
        "p_max": {"uniform": [0.0, 1.0]},
        "layer": {"choice": ["decoder", "encoder.4"]},
        "sampling": {"choice": ["uniform", {"name": "inverse_frequency", "tau": {"uniform": [0.25, 2.0]}}]},
    },
}
ONE = {"metric": "val/object_miou_swapped", "mode": "max"}
SEARCH = {"search": {"sampler": {"name": "tpe"}, "trials": 40}}


def info(folder: Path, objective: object = ONE, **more: Any) -> StudyInfo:
    specification: dict[str, Any] = {"study": "s", "objective": objective, "tracking": {}, **TRIAL, **more}
    return StudyInfo(Store(str(folder), "s"), KeptStudy("1234", specification))


def state(study: StudyInfo, title: str) -> Mapping[str, Any]:
    (view,) = (view for view in views(study) if view.title == title)
    text = view_tags(study)[f"mlflow.sharedViewState.{view.key}"]
    assert len(text) <= MOST_CHARACTERS
    read: Mapping[str, Any] = json.loads(text)
    return read


def axes(state: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What each scatter draws against what."""
    charts = state["compareRunCharts"]
    return [(chart["xaxis"]["key"], chart["yaxis"]["key"]) for chart in charts if chart["type"] == "SCATTER"]


def test_the_address_that_is_printed_opens_the_charts_of_the_search(tmp_path: Path) -> None:
    study = info(tmp_path, **SEARCH)
    view = views(study)[0]
    where = "http://h:5000/#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey="
    assert view.address("7", "http://h:5000/") == f"{where}{view_key('1234', 'charts')}&compareRunsMode=CHART"
    assert [view.title for view in views(study)] == ["charts", "table"]
    assert views(study)[1].address("7") == where.removeprefix("http://h:5000/") + view_key("1234")
    drawn = state(study, "charts")
    (parallel,) = (chart for chart in drawn["compareRunCharts"] if chart["type"] == "PARALLEL")
    names = ["suppression.sampling.name", "suppression.layer", "suppression.p_max", "train.lr"]
    assert parallel["selectedParams"] == names, "what only some trials have would hide the others"
    assert parallel["selectedMetrics"] == [ONE["metric"]]
    assert axes(drawn) == [(name, ONE["metric"]) for name in [*names, "suppression.sampling.tau"]]
    assert {chart["metricKey"] for chart in drawn["compareRunCharts"] if "metricKey" in chart} == {ONE["metric"]}
    sections = [section["uuid"] for section in drawn["compareRunSections"]]
    assert len(sections) == len(set(sections))
    assert {chart["metricSectionId"] for chart in drawn["compareRunCharts"]} < set(sections)
    assert (drawn["orderByKey"], drawn["orderByAsc"]) == (f"metrics.`{ONE['metric']}`", False)


def test_the_table_has_the_columns_of_the_picks(tmp_path: Path) -> None:
    table = state(info(tmp_path, **SEARCH), "table")
    settings = ["sampling.name", "layer", "p_max"]
    columns = table["selectedColumns"]
    assert columns[:4] == ["metrics.`val/object_miou_swapped`", *(f"params.`suppression.{name}`" for name in settings)]
    shown = [f"metrics.`val/{name}`" for name in ("miou", "rare_miou", "context_gap")]
    assert columns[-7:] == [*shown, "tags.`arm`", "tags.`state`", "tags.`kind`", "tags.`reason`"]
    assert table["columnOrder"] == columns
    assert table["columnWidths"].keys() == set(columns)


def test_several_objectives_have_charts_each_and_of_their_pairs(tmp_path: Path) -> None:
    several = [{"metric": "val/ece", "mode": "min"}, {"metric": "val/miou", "mode": "max"}]
    drawn = state(info(tmp_path, several, **SEARCH), "charts")
    assert (drawn["orderByKey"], drawn["orderByAsc"]) == ("metrics.`val/ece`", True)
    assert ("val/ece", "val/miou") in axes(drawn)
    for metric in ("val/ece", "val/miou"):
        assert any(name.startswith(metric) for name in (s["name"] for s in drawn["compareRunSections"] if s["display"]))
        assert ("suppression.layer", metric) in axes(drawn)
    table = state(info(tmp_path, several, **SEARCH), "table")
    assert table["selectedColumns"][:2] == ["metrics.`val/ece`", "metrics.`val/miou`"]


@pytest.mark.parametrize(("arms", "seeds", "by_block"), [(7, 9, False), (300, 9, True)])
def test_runs_of_a_comparison_are_grouped_by_arm(arms: int, seeds: int, by_block: bool, tmp_path: Path) -> None:
    section = {"design": "one_at_a_time", "factors": {"suppression.alpha": [10.0, 0.3]}, "seeds": seeds}
    study = info(tmp_path, **SEARCH, ablation=section, confirm={"top": 1, "seeds": 8})
    named = tuple(Arm(f"suppression.alpha={index}", {"suppression.alpha": float(index)}) for index in range(arms))
    StagePlan("ablation", "arms", named[0].name, named, tuple(range(seeds))).write(Store(str(tmp_path), "s").objects)
    assert [view.title for view in views(study)] == ["charts", "charts of the confirmation", "charts of the ablation",
                                                     "table"]  # fmt: skip
    drawn = state(study, "charts of the ablation")
    assert drawn["groupBy"] == {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "arm"}]}
    assert "tags.kind = 'ablation'" in drawn["searchFilter"]
    assert (drawn["orderByKey"] == "tags.`block`") == by_block, "the best hundred runs would say nothing of the arms"
    titles = " ".join(section["name"] for section in drawn["compareRunSections"])
    assert ("first 100 of 2700 runs" in titles) == by_block
    assert axes(drawn) == [("suppression.alpha", ONE["metric"])]
    assert views(info(tmp_path, search=None, ablation=section))[0].key == view_key("1234", "ablation")


@pytest.mark.parametrize("length", [10, 240])
def test_very_many_and_very_long_names_fit_into_a_tag(length: int, tmp_path: Path) -> None:
    classes = [f"{'x' * length}{number}" for number in range(60)]
    several = [{"metric": f"val/iou/{name}", "mode": "max"} for name in classes]
    drawn = state(info(tmp_path, several, **SEARCH), "charts")
    assert axes(drawn)[0] == ("suppression.sampling.name", drawn["orderByKey"].removeprefix("metrics.`")[:-1])
    assert state(info(tmp_path, several, **SEARCH), "table")["selectedColumns"]


def test_views_that_an_experiment_has_are_found_by_their_tags() -> None:
    tags = [f"mlflow.sharedViewState.{view_key('1', which)}" for which in (None, "ablation")]
    assert [view.title for view in views_of("1", tags)] == ["charts of the ablation", "table"]
    assert [view.charts for view in views_of("1", tags)] == [True, False]
    assert list(views_of("2", tags)) == []
