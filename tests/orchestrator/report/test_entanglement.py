"""The report shows cosines between class weights and Grad-CAM maps, each arm beside the baseline."""

import io
from typing import Any

import numpy as np
import pytest
from made_studies import MadeStudy, document_of, preset_plan
from PIL import Image

from orchestrator.report.build import FORMATS, render
from orchestrator.report.charts.drawing import save
from orchestrator.report.pages.document import Document
from orchestrator.report.sections.comparison_results import MOST_PICTURED
from orchestrator.store.artifacts import WeightCosines, keep_artifacts
from orchestrator.store.layout import GRADCAM
from orchestrator.store.stage_plan import Arm
from orchestrator.store.trial_record import State
from trainable.data.classes import SHAPES

RARE = (4, 5)


def png(width: int, height: int, colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(stream, "PNG")
    return stream.getvalue()


def cosines_of(level: float) -> WeightCosines:
    matrix = np.where(np.eye(6, dtype=bool), 1.0, level)
    return WeightCosines(5, SHAPES, RARE, tuple(map(tuple, matrix.tolist())))


def made_study(make: Any, arms: int = 1, **options: Any) -> MadeStudy:
    """Cosines rise by 0.1 from one seed to the next, and lie 0.3 lower in every arm than in the baseline."""
    made: MadeStudy = make()
    names = ("plain", *(f"arm {number}" for number in range(arms)))
    plan = preset_plan(seeds=3, arms=tuple(Arm(name, {"preset": "full"}) for name in names))
    made.compare(plan, dict.fromkeys(names, 0.0), **options)
    for record in made.records:
        baseline = record.planned.arm == "plain"
        level = 0.5 + 0.1 * (record.planned.block or 0) - 0.3 * (not baseline)
        record.epochs[-1]["model/weight_cosine_rare"] = level
        picture = png(60, 80, "red") if baseline else png(70, 40, "blue")
        keep_artifacts(made.store.objects, record.key, {GRADCAM: picture}, None, cosines_of(level))
    return made


def test_means_over_the_seeds_that_both_have_trained(make: Any) -> None:
    """The baseline failed on the last seed: seeds 0 and 1 remain."""
    document = document_of(made_study(make, states={("plain", 2): (State.FAILED, "why")}))
    (picture,) = [picture for picture in document.pictures if picture.name == "ablation-cosines-1"]
    assert "mean over 2 seeds" in picture.caption
    figure = picture.draw()
    baseline, arm, difference = (axis.get_images()[0].get_array() for axis in figure.axes[:3])
    for shown, level in ((baseline, 0.55), (arm, 0.25), (difference, -0.3)):
        assert shown.mask.tolist() == np.eye(6, dtype=bool).tolist(), "a class's cosine with itself says nothing"
        np.testing.assert_allclose(shown.compressed(), level)
    assert figure.axes[0].get_images()[0].norm.vmax == figure.axes[1].get_images()[0].norm.vmax
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()][3:] == [
        SHAPES[3],
        *(f"{SHAPES[c]} *" for c in RARE),
    ]
    assert save(figure, picture.name, ["svg"])["svg"].startswith(b"<?xml")
    (table,) = [table for table in document.tables if table.name == "ablation-cosines"]
    assert table.heads == ("arm", "model/weight_cosine_rare ↓")
    assert [[cell.text for cell in row] for row in table.rows] == [["plain", "0.5500"], ["arm 0", "0.3000 (−0.3000)"]]


def test_the_maps_of_baseline_and_arm_lie_side_by_side(make: Any) -> None:
    (photograph,) = document_of(made_study(make)).photographs
    picture = Image.open(io.BytesIO(photograph.jpeg))
    assert picture.format == "JPEG"
    red, blue = picture.getpixel((30, 60)), picture.getpixel((110, 40))
    assert red[0] > 240 > 20 > red[2]
    assert blue[2] > 240 > 20 > blue[0]
    assert "seed 100" in photograph.caption
    files = render(Document("t", (photograph,)), FORMATS)
    assert files["figures/ablation-gradcam-1.jpg"] == photograph.jpeg
    assert b"(figures/ablation-gradcam-1.jpg)" in files["report.md"]
    assert b"{figures/ablation-gradcam-1.jpg}" in files["report.tex"]
    assert b'src="data:image/jpeg;base64,' in files["report.html"]


def test_runs_that_have_kept_nothing_have_no_such_section(make: Any) -> None:
    made: MadeStudy = make()
    made.compare(preset_plan(seeds=2, arms=(Arm("plain", {}), Arm("full", {}))), {"plain": 0.0, "full": 0.0})
    document = document_of(made)
    assert not document.photographs
    assert "Entanglement" not in str(document.blocks)


@pytest.mark.parametrize("content", [b"no picture", png(60, 80, "red")[:70]], ids=["none", "torn"])
def test_a_damaged_picture_is_left_out(make: Any, content: bytes) -> None:
    made = made_study(make)
    keep_artifacts(made.store.objects, "ablation-0001", {GRADCAM: content}, None)
    assert not document_of(made).photographs


def test_many_arms_are_not_all_shown(make: Any) -> None:
    document = document_of(made_study(make, arms=MOST_PICTURED + 1))
    assert len(document.photographs) == MOST_PICTURED
    assert f"the first {MOST_PICTURED} of {MOST_PICTURED + 1} arms" in str(document.blocks)
