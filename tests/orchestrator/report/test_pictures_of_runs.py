"""Predictions side by side and reliability diagrams, from what runs kept."""

import io
from typing import Any

import numpy as np
import pytest
from made_studies import preset_plan
from PIL import Image

from orchestrator.report.build import compose
from orchestrator.report.charts.prediction_pictures import cells_of, predictions_side_by_side
from orchestrator.report.pages.document import Document, Paragraph
from orchestrator.report.source import read_results
from orchestrator.store.artifacts import CalibrationBins, keep_artifacts
from orchestrator.store.layout import LAST_PICTURE
from trainable.data.classes import class_map
from trainable.data.config import ShapesData
from trainable.data.strip import cell_size, draw_strip

Make = Any  # conftest's builder of studies
ARMS = {"plain": 0.0, "full": 0.05, "random_channels": -0.1}


def strip(predicted: int, *, frames: int = 2, size: tuple[int, int] = (16, 24), seed: int = 0) -> bytes:
    """Of a network that predicts one class everywhere."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (frames, 3, *size), dtype=np.uint8)
    truth = rng.integers(0, 6, (frames, *size), dtype=np.uint8)
    prediction = np.full((frames, *size), predicted, dtype=np.uint8)
    return draw_strip(images, truth, prediction, class_map(ShapesData(name="shapes")), (2,))


@pytest.mark.parametrize("size", [(16, 24), (300, 500), (64, 64), (3, 288)])
@pytest.mark.parametrize("frames", [1, 4])
def test_cells_are_found_as_they_were_drawn(size: tuple[int, int], frames: int) -> None:
    picture = np.asarray(Image.open(io.BytesIO(strip(1, frames=frames, size=size))).convert("RGB"))
    cells = cells_of(picture)
    assert cells is not None
    assert (cells.width, cells.height) == cell_size(*size)
    assert cells.rows == frames


def test_only_predictions_differ_between_columns() -> None:
    pasted = predictions_side_by_side([("a", strip(0)), ("b", strip(2)), ("other frames", strip(1, seed=1))])
    assert pasted is not None
    jpeg, names = pasted
    assert names == ["a", "b"], "a trial of other frames is left out"
    whole = np.asarray(Image.open(io.BytesIO(jpeg)))
    colours = class_map(ShapesData(name="shapes")).colours
    width, height = cell_size(16, 24)
    for column, predicted in ((2, 0), (3, 2)):
        middle = whole[38 + 6 + height // 2, 6 + column * (width + 6) + width // 2]
        assert np.abs(middle.astype(int) - colours[predicted]).max() < 12, "JPEG rounds"


def test_what_is_no_strip_is_not_pasted() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (40, 40), "white").save(stream, "PNG")
    assert predictions_side_by_side([("a", stream.getvalue()), ("b", stream.getvalue())]) is None


def pictured(made: Any, content: bytes | None = None) -> Document:
    for number, record in enumerate(made.records):
        bins = tuple((100.0, 100 * (n + 0.5) / 15, 100 * (n + 0.5) / 15) for n in range(15))
        pictures = {LAST_PICTURE: content or strip(number % 6)}
        keep_artifacts(made.store.objects, record.key, pictures, None, calibration=CalibrationBins(5, bins))
    results = read_results(made.write())
    return compose(results, results.chosen_metrics(None))


def test_a_comparison_shows_baseline_and_best_arm(make: Make) -> None:
    made = make()
    made.compare(preset_plan(2, arms=tuple(a for a in preset_plan().arms if a.name in ARMS)), ARMS)
    document = pictured(made)
    photograph = next(one for one in document.photographs if one.name == "ablation-predictions")
    assert "image, truth, plain (baseline), seed 100, full (best mean), seed 100." in photograph.caption
    diagram = next(one for one in document.pictures if one.name == "ablation-reliability").draw()
    titles = [axis.get_title() for axis in diagram.axes]
    assert titles == [f"{arm}\nECE 0.0000" for arm in ARMS], "a calibrated network has no error"


def test_a_search_shows_plain_best_and_official(make: Make) -> None:
    made = make("search.trials=4")
    made.search(4)
    made.references()
    document = pictured(made)
    caption = next(one for one in document.photographs if one.name == "search-predictions").caption
    best = max((r for r in made.records if r.planned.kind == "search"), key=lambda r: r.epochs[-1]["val/miou"])
    places = [caption.index(word) for word in ("reference: plain", f"best ({best.key})", "reference: official")]
    assert places == sorted(places)


def test_damaged_pictures_and_bins_are_left_out(make: Make) -> None:
    made = make("search.trials=2")
    made.search(2)
    made.references()
    document = pictured(made, content=b"no picture")
    assert not document.photographs
    for record in made.records:
        made.store.write_bytes(f"trials/{record.key}/artifacts/calibration.json", b"{}")
    results = read_results(made.store)
    without = compose(results, results.chosen_metrics(None))
    said = [block.text for block in without.blocks if isinstance(block, Paragraph)]
    assert "val/ece was measured, but the bins of a reliability diagram were not kept by this version." in said
