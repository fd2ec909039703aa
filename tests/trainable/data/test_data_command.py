"""``python -m trainable.data``: tables, pictures, one line for a mistake."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import camvid_tree, cityscapes_tree, folder_tree, voc_tree

from trainable.__main__ import main as run_trial
from trainable.data.__main__ import main
from trainable.data.cache import ensure_cache
from trainable.data.config import ShapesData
from trainable.data.describe import conditional
from trainable.data.layout import pairs
from trainable.data.pictures import _most_telling, draw
from trainable.data.statistics import ClassStatistics

PICTURES = ["class_shares.png", "co_occurrence.png", "samples.png"]


def test_it_describes_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = camvid_tree(tmp_path / "camvid")
    out = tmp_path / "out"
    assert main(["camvid", "--root", data.root, "--size", "32", "64", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "camvid: 2 train, 2 val frames at 32x64, 11 classes" in captured.out
    assert str(ensure_cache(data)) in captured.out
    labels = [np.asarray(Image.open(pair.label)) for pair in pairs(data, "train")]
    labelled = sum(int((label < 11).sum()) for label in labels)
    sky = 100 * sum(int((label == 0).sum()) for label in labels) / labelled
    (line,) = [line for line in captured.out.splitlines() if " 0 sky " in line and "." in line]
    assert f"{sky:.3f}" in line
    assert sorted(path.name for path in out.iterdir()) == PICTURES
    for path in out.iterdir():
        assert min(Image.open(path).size) > 200


@pytest.mark.parametrize("tree", [cityscapes_tree, voc_tree, folder_tree])
def test_every_data_set_can_be_drawn(tree, tmp_path: Path) -> None:
    """With classes that never occur, frames of one row, and a single training image."""
    data = tree(tmp_path / "data")
    assert sorted(path.name for path in draw(data, tmp_path / "out")) == PICTURES


def test_shapes_show_every_context(tmp_path: Path) -> None:
    (samples, *_) = draw(ShapesData(name="shapes", train_images=5, val_images=5), tmp_path)
    width, height = Image.open(samples).size
    assert width > 1.5 * height, "five columns, two rows"


def test_frames_that_show_most_classes_are_drawn_from_all_parts_of_a_split() -> None:
    counts = np.array([[9, 0, 0, 0], [9, 9, 0, 0], [9, 9, 0, 0], [0, 0, 9, 0], [9, 9, 0, 0], [0, 0, 0, 9]])
    assert _most_telling(counts, 2) == [1, 3]
    assert _most_telling(counts[:1], 3) == [0]


def test_co_occurrence_by_hand() -> None:
    statistics = ClassStatistics.of([[1, 1, 0], [1, 0, 0], [4, 0, 0]])
    expected = np.array([[1, 1 / 3, 0], [1, 1, 0], [np.nan] * 3])
    np.testing.assert_allclose(conditional(statistics), expected)


def test_a_trial_tells_the_notes_of_its_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = camvid_tree(tmp_path / "camvid")
    (tmp_path / "camvid/train/x.gif").write_bytes(b"")
    path = tmp_path / "trial.json"
    model = {"arch": "unet", "encoder": "resnet18", "encoder_weights": None}
    train = {"epochs": 1, "batch_size": 2, "lr": 0.001}
    path.write_text(json.dumps({"data": data.model_dump(mode="json"), "model": model, "train": train}))
    assert run_trial([str(path), "--device", "cpu", "--threads", "1"]) == 0
    note = f"note: {tmp_path}/camvid/train: 1 not read (images are *.png): x.gif"
    assert note in capsys.readouterr().err.splitlines()


MISTAKES = {
    "no root": (["camvid"], "camvid: --root: field required"),
    "no such folder": (["camvid", "--root", "nowhere"], "camvid: data.root: no folder nowhere; it must hold train/"),
    "an odd size": (["shapes", "--size", "33", "64"], "shapes: --size: input should be a multiple of 32"),
    "shapes with a root": (["shapes", "--root", "."], "shapes: --root: extra inputs are not permitted"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_one_line_and_code_2(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, expected = MISTAKES[kind]
    assert main(arguments) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith(expected)
    assert captured.out == ""


def test_a_broken_frame_and_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = camvid_tree(tmp_path / "camvid")
    image = pairs(data, "train")[0].image
    call = ["camvid", "--root", data.root, "--size", "32", "64", "--out"]
    assert main([*call, str(image / "below")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"camvid: --out {image}/below: cannot be written (Not a directory)"
    image.write_bytes(b"broken")
    assert main([*call, str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"camvid: {image}: cannot be decoded")


def test_an_unknown_data_set_names_the_known_ones() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trainable.data", "kitti"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "shapes" in done.stderr
    assert "folder" in done.stderr
