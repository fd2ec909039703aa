"""Matrices and bins of a trial are read thousands of times a study: their shapes are known before the first."""

from pathlib import Path

import pytest

from orchestrator.store import artifacts
from orchestrator.store.artifacts import CalibrationBins, Confusion, ContextReliance, WeightCosines
from orchestrator.store.objects import Objects

CONFUSION = Confusion(4, ("a", "b"), (1,), ((1, 2), (3, 4)))
COSINES = WeightCosines(4, ("a", "b"), (1,), ((1.0, 0.5), (0.5, 1.0)))
RELIANCE = ContextReliance(4, ("a", "b"), (1,), ((None, 0.25), (0.5, None)))
BINS = CalibrationBins(4, ((3.0, 2.0, 0.5),))


def test_no_shape_is_worked_out_anew_for_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "TypeAdapter", None)
    objects = Objects(str(tmp_path))
    artifacts.keep_artifacts(objects, "search-0000", {}, CONFUSION, COSINES, RELIANCE, BINS)
    assert artifacts.read_confusion(objects, "search-0000") == CONFUSION
    assert artifacts.read_weight_cosines(objects, "search-0000") == COSINES
    assert artifacts.read_reliance(objects, "search-0000") == RELIANCE
    assert artifacts.read_calibration(objects, "search-0000") == BINS
    assert artifacts.read_calibration(objects, "search-0001") is None
