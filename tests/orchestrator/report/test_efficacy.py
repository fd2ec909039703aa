"""The report shows the purity of the channels beside random weights, and says where suppression does not bite."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from made_studies import preset_plan

from orchestrator.report.build import compose
from orchestrator.report.charts.drawing import save
from orchestrator.report.pages.document import Document, Paragraph
from orchestrator.report.source import read_results
from orchestrator.store.stage_plan import Arm
from orchestrator.store.trial_record import Record
from trainable.config import read_trial

PURITY, ABOVE = [0.36, 0.40, 0.44, 0.50, 0.56], [0.01, 0.05, 0.09, 0.15, 0.21]


def suppressed(record: Record, dropped: float) -> Record:
    """The run with what a trial with a block reports; p(z) is 0.8 and falls to ``dropped``."""
    values = {"suppression/p_kept": 0.8, "suppression/p_dropped": dropped, "train/dropped_share": 0.5}
    curves = zip(record.epochs, PURITY, ABOVE, strict=True)
    epochs = [
        {**epoch, **values, "suppression/purity": purity, "suppression/purity_above_chance": above}
        for epoch, purity, above in curves
    ]
    config = read_trial({**record.planned.config, "preset": record.planned.arm}).model_dump(mode="json")
    return replace(record, epochs=tuple(epochs), planned=replace(record.planned, config=config))


def document_of(make: Any, dropped: Mapping[str, float]) -> Document:
    made = make()
    arms = tuple(Arm(name, {"preset": name}) for name in ("plain", *dropped))
    made.compare(preset_plan(seeds=2, arms=arms), {arm.name: 0.0 for arm in arms})
    made.records = [
        suppressed(record, dropped[record.planned.arm]) if record.planned.arm in dropped else record
        for record in made.records
    ]
    results = read_results(made.write())
    return compose(results, results.chosen_metrics(None))


def test_both_curves_and_the_figures_of_every_arm_with_a_block(make: Any) -> None:
    document = document_of(make, {"full": 0.2, "random_channels": 0.79})
    (picture,) = [picture for picture in document.pictures if picture.name == "ablation-purity"]
    figure = picture.draw()
    assert [axis.get_title() for axis in figure.axes] == ["full", "random_channels"]
    for axis in figure.axes:
        purity, chance = (line.get_ydata() for line in axis.get_lines())
        np.testing.assert_allclose(purity, PURITY)
        np.testing.assert_allclose(chance, [0.35] * 5)
    assert save(figure, picture.name, ["svg"])["svg"].startswith(b"<?xml")
    (table,) = [table for table in document.tables if table.name == "ablation-efficacy"]
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["full", "0.5600", "+0.2100", "0.8000", "0.2000"],
        ["random_channels", "0.5600", "+0.2100", "0.8000", "0.7900"],
    ]
    assert not any("hardly" in block.text for block in document.blocks if isinstance(block, Paragraph))


def test_a_warning_names_the_arms_in_which_suppression_does_not_bite(make: Any) -> None:
    document = document_of(make, {"full": 0.75, "dropped_path": 0.5})
    (said,) = [block for block in document.blocks if isinstance(block, Paragraph) and "hardly" in block.text]
    assert said.warning
    assert said.text.startswith("It hardly does in full: ")
    assert all(word in said.text for word in ("granularity: image", "model.init: small", "schedule: linear"))


def test_controls_of_erasing_are_not_meant_to_take_a_class_away(make: Any) -> None:
    document = document_of(make, {"erase": 0.2, "ignore": 0.8, "erase_elsewhere": 0.8, "erase_blocks": 0.8})
    assert not any("hardly" in block.text for block in document.blocks if isinstance(block, Paragraph))
    document = document_of(make, {"erase": 0.8})
    assert any("It hardly does in erase" in block.text for block in document.blocks if isinstance(block, Paragraph))


def test_studies_without_a_block_have_no_such_section(make: Any) -> None:
    document = document_of(make, {})
    assert not any("bite" in str(block) for block in document.blocks)
