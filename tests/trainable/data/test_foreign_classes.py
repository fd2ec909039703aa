"""Classes that no pixel shows, splits without a label, and very many classes: told, refused, bounded."""

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from trees import camvid_tree, own_tree, picture, png, voc_tree

from trainable.data.__main__ import main
from trainable.data.cache import ensure_cache
from trainable.data.classes import class_map
from trainable.data.config import FileData, FolderData, ShapesData
from trainable.data.errors import DataError
from trainable.data.layout import check_data, pairs
from trainable.data.notes import data_notes
from trainable.data.pictures import draw

BINARY = "classes: [{name: background, id: 0}, {name: foreground, id: 1}]\n"
HINT = " (if one is a class, give the class that id and take it out of `ignore`)"
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DROPCLASS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def labelled(root: Path, classes: str, train: list[int], val: list[int]) -> FolderData:
    """A data set whose masks hold these ids in turn."""
    data = own_tree(root, classes)
    for split, ids in (("train", train), ("val", val)):
        png(root / f"images/{split}/v.png", picture(RNG))
        png(root / f"masks/{split}/v.png", np.resize(ids, (32, 64)))
    return data


def refusal(data: FileData) -> str:
    with pytest.raises(DataError) as caught:
        ensure_cache(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_foreground_of_255_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = labelled(tmp_path, BINARY, [0, 255], [0, 255])
    expected = f"no training label holds foreground (id 1); ignored ids: 255{HINT}"
    assert data_notes(data) == (expected,)
    assert main(["folder", "--root", data.root, "--size", "32", "64", "--out", str(tmp_path / "out")]) == 0
    assert f"note         {expected}" in capsys.readouterr().out.splitlines()
    (tmp_path / "classes.yaml").write_text(BINARY.replace("id: 1", "id: 255") + "ignore: []\n")
    assert data_notes(data) == ()


def test_classes_that_an_ignored_id_swallows_are_told(tmp_path: Path) -> None:
    three = "classes: [{name: a, id: 1}, {name: b, id: 2}, {name: c, id: 3}]\nignore: [0, 7]\n"
    data = labelled(tmp_path, three, [0, 1, 7], [1, 2, 3])
    assert data_notes(data) == (f"no training label holds b (id 2), c (id 3); ignored ids: 0, 7{HINT}",)


def test_absent_classes_of_other_data_sets_are_told_too(tmp_path: Path) -> None:
    camvid = camvid_tree(tmp_path)
    for pair in pairs(camvid, "train"):
        png(pair.label, np.resize([0, 1, 2, 3, 4, 5, 6, 7, 8, 10], (32, 64)))
    assert data_notes(camvid) == ("no training label holds pedestrian (id 9); ignored ids: 11",)


@pytest.mark.parametrize(
    ("ignore", "expected"),
    [
        ("", "id 255 stands there twice: it is a class, and ignored by default; write `ignore: []` to keep the class"),
        (
            "ignore: [0, 255]",
            "id 255 stands there twice: it is a class, and ignored; write `ignore: [0]` to keep the class",
        ),
        (
            "ignore: [0, 1, 255]",
            "id 1 stands there twice: it is a class, and ignored; write `ignore: [0, 255]` to keep",
        ),
    ],
)
def test_an_id_that_is_a_class_and_ignored_says_what_to_write(ignore: str, expected: str, tmp_path: Path) -> None:
    class_id = 1 if "1, " in ignore else 255
    data = labelled(tmp_path, f"classes: [{{name: a, id: 7}}, {{name: b, id: {class_id}}}]\n{ignore}", [7], [7])
    with pytest.raises(DataError) as caught:
        check_data(data)
    assert expected in str(caught.value)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_a_labelled_pixel_is_refused(split: str, tmp_path: Path, cache: Path) -> None:
    ids = {"train": [0, 1], "val": [1, 0]} | {split: [255]}
    data = labelled(tmp_path, BINARY, ids["train"], ids["val"])
    expected = f"data.root: no pixel of the 1 frames of {split} is labelled: every one is ignored (ids 255)"
    assert refusal(data).startswith(expected)
    assert not list(cache.glob("*.arrow"))


def test_other_splits_without_a_labelled_pixel_are_refused(tmp_path: Path) -> None:
    camvid, voc = camvid_tree(tmp_path / "camvid"), voc_tree(tmp_path / "voc")
    for pair in pairs(camvid, "val"):
        png(pair.label, np.full((32, 64), 11))
    assert "of the 2 frames of val is labelled" in refusal(camvid)
    png(pairs(voc, "val")[0].label, np.full((50, 50), 255))
    assert "of the 1 frames of val is labelled" in refusal(voc)
    lost = labelled(tmp_path / "lost", BINARY, [0, 1], [0])
    image = np.zeros((1024, 1024, 3))
    label = np.full((1024, 1024), 255)
    label[0, 0] = 1  # gone at 32x64
    png(tmp_path / "lost/images/val/v.png", image)
    png(tmp_path / "lost/masks/val/v.png", label)
    assert "or lost at 32x64" in refusal(lost)


@pytest.mark.parametrize("name", ["traffic light", "a b c", "x_1 y.2"])
def test_names_of_classes_may_hold_spaces(name: str, tmp_path: Path) -> None:
    data = labelled(tmp_path, f"classes: [{{name: {name}, id: 0}}, {{name: b, id: 1}}]", [0, 1], [0, 1])
    check_data(data)
    assert class_map(data).names == (name, "b")


@pytest.mark.parametrize("name", ["a/b", " a", "a  b", "a\\tb", "", "é"])
def test_names_that_are_none_are_told_in_words(name: str, tmp_path: Path) -> None:
    data = labelled(tmp_path, f'classes: [{{name: "{name}", id: 0}}]', [0], [0])
    with pytest.raises(DataError) as caught:
        check_data(data)
    assert "is no class name: letters, digits, _ . - and single spaces between them" in str(caught.value)
    assert "\n" not in str(caught.value)


MANY = """
import sys
from pathlib import Path
from trainable.data.config import FolderData
from trainable.data.pictures import draw
draw(FolderData.model_validate_json(sys.argv[1]), Path(sys.argv[2]))
"""


def test_pictures_of_255_classes_stay_small(tmp_path: Path) -> None:
    classes = "classes:\n" + "".join(f"  - {{name: class number {c}, id: {c}}}\n" for c in range(255)) + "ignore: []"
    data = labelled(tmp_path, classes, list(range(255)), list(range(255)))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (800_000_000, 800_000_000))

    call = [sys.executable, "-c", MANY, data.model_dump_json(), str(tmp_path / "out")]
    done = subprocess.run(call, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/co_occurrence.png").stat().st_size < 2_000_000


def test_nothing_is_told_of_what_is_as_it_should_be(tmp_path: Path) -> None:
    assert data_notes(ShapesData(name="shapes")) == ()
    data = labelled(tmp_path, BINARY, [0, 1], [0, 1])
    assert data_notes(data) == ()
    draw(data, tmp_path / "out")
