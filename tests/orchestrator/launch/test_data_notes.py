"""What a launch tells of its data sets, once."""

from pathlib import Path

import numpy as np
import pytest
from trees import camvid_tree, png

from orchestrator.launch.data_sets import cache_data
from orchestrator.studyfile import load

STUDY = """
study: notes
objective: {{metric: val/miou, mode: max}}
data: {{name: camvid, root: {root}, size: {{choice: [[32, 64], [64, 64]]}}}}
model: {{arch: unet, encoder: resnet18, encoder_weights: null}}
train: {{epochs: 1, batch_size: 2, lr: {{log_uniform: [0.001, 0.1]}}}}
search: {{sampler: random, trials: 2}}
"""


def test_notes_of_the_data_are_told_once_a_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DROPCLASS_CACHE", str(tmp_path / "cache"))
    root = Path(camvid_tree(tmp_path / "data").root)
    png(root / "trainannot/lone.png", np.zeros((32, 64)))
    path = tmp_path / "study.yaml"
    path.write_text(STUDY.format(root=root))
    cache_data(load(path))
    assert capsys.readouterr().out == f"note: camvid: {root}/trainannot: 1 without an image: lone.png\n"
    assert len(list((tmp_path / "cache").glob("*.arrow"))) == 2
