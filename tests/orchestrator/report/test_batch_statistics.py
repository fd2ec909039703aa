"""The report says whose block is judged on statistics that do not fit the evaluation, and what no run recomputes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from made_studies import PRESET_ARMS, preset_plan

from orchestrator.report.build import compose
from orchestrator.report.pages.rendering import render
from orchestrator.report.source import read_results
from orchestrator.store.stage_plan import Arm
from orchestrator.store.trial_record import Record
from trainable.config import read_trial
from trainable.presets import Preset

JUDGED = "Judged on the running statistics of training, drops among them: the block of "
BEHIND = "Batch norm of the network behind a block in the encoder kept those of training"


def with_presets(record: Record, suppression: Mapping[str, object]) -> Record:
    """The run with the configuration of its arm."""
    tree = {**record.planned.config, "suppression": suppression, "preset": record.planned.arm}
    config = read_trial(tree).model_dump(mode="json")
    return replace(record, planned=replace(record.planned, config=config))


def said(make: Any, arms: tuple[Preset, ...], suppression: Mapping[str, object]) -> str:
    made = make()
    plan = preset_plan(seeds=2, arms=tuple(Arm(name, {"preset": name}) for name in ("plain", *arms)))
    made.compare(plan, {arm.name: PRESET_ARMS.get(arm.name, 0.0) for arm in plan.arms})
    made.records = [with_presets(record, suppression) for record in made.records]
    results = read_results(made.write())
    document = compose(results, results.chosen_metrics(None))
    return " ".join(render(document, "md", {}).replace("\\", "").split())


@pytest.mark.parametrize(
    ("layer", "behind"), [("decoder", False), ("encoder.4", True), (["encoder.4", "decoder"], True)]
)
def test_arms_of_an_ablation_are_recalibrated(make: Any, layer: Any, behind: bool) -> None:
    text = said(make, ("two_path", "full"), {"layer": layer})
    assert JUDGED not in text
    assert (BEHIND in text) == behind


def test_a_search_that_is_not_says_so(make: Any) -> None:
    made = make()
    made.search(4)
    made.references()
    results = read_results(made.write())
    text = " ".join(render(compose(results, results.chosen_metrics(None)), "md", {}).replace("\\", "").split())
    assert f"{JUDGED}search-0000, search-0001, search-0002, search-0003, reference-official." in text
    assert "reference-plain" not in text.partition(JUDGED)[2].partition(".")[0]
    assert BEHIND not in text


def test_erasing_has_no_block_to_speak_of(make: Any) -> None:
    text = said(make, ("erase", "erase_blocks"), {"layer": "input"})
    assert JUDGED not in text


def test_plain_arms_have_no_statistics_to_speak_of(make: Any) -> None:
    text = said(make, ("class_weighted",), {"layer": "encoder.4"})
    assert JUDGED not in text
    assert BEHIND not in text
