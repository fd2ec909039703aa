"""The data sets of a study on the driver: refused in one line, cached before the first trial, described."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from trees import camvid_tree, folder_tree, png

from orchestrator.errors import InputError
from orchestrator.launch.data_sets import cache_data, check_data_unchanged, draw_data, look_through, rare_class_names
from orchestrator.launch.foreseen import foreseen
from orchestrator.store.data_fingerprints import data_fingerprint
from orchestrator.studyfile import Study, load
from orchestrator.sweep import main
from trainable.data.cache import cache_path
from trainable.data.layout import pairs

STUDY = """
study: s
objective: {{metric: {metric}, mode: max}}
data: {data}
model: {{arch: fpn, encoder: resnet18, encoder_weights: null}}
train: {{epochs: 1, batch_size: 2, lr: {{uniform: [0.001, 0.1]}}}}
search: {{sampler: random, trials: 2, references: []}}
"""

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DROPCLASS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return tmp_path


@pytest.fixture
def write(place: Path) -> Write:
    def write(data: str, metric: str = "val/miou") -> Path:
        path = place / "s.yaml"
        path.write_text(STUDY.format(data=data, metric=metric))
        return path

    return write


def _cut(root: Path) -> Path:
    path = root / "train/001.png"
    path.write_bytes(path.read_bytes()[:80])
    return path


def _without_label(root: Path) -> Path:
    path = root / "valannot/000.png"
    path.unlink()
    return path


def _of_another_size(root: Path) -> Path:
    png(root / "trainannot/000.png", np.zeros((8, 8)))
    return root / "trainannot/000.png"


def _of_another_map(root: Path) -> Path:
    png(root / "valannot/001.png", np.full((32, 64), 40))
    return root / "valannot/001.png"


def _empty(root: Path) -> Path:
    for path in (root / "val").iterdir():
        path.unlink()
    return root / "val"


def _no_folder(root: Path) -> Path:
    (root / "trainannot").rename(root / "elsewhere")
    return root / "trainannot"


@pytest.mark.parametrize("harm", [_cut, _without_label, _of_another_size, _of_another_map, _empty, _no_folder])
def test_broken_data_is_one_line_that_names_the_file_and_code_2(
    harm: Callable[[Path], Path], place: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    camvid_tree(place / "camvid")
    named = harm(place / "camvid")
    assert main([str(write(f"{{name: camvid, root: {place}/camvid, size: [32, 64]}}"))]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.strip().splitlines()
    assert str(named) in line
    assert captured.out == ""
    assert not (place / "studies").exists()
    assert not list((place / "cache").glob("*.arrow")) if (place / "cache").exists() else True


def test_a_cache_that_cannot_be_written_is_one_line(place: Path, write: Write, monkeypatch) -> None:
    camvid_tree(place / "camvid")
    monkeypatch.setenv("DROPCLASS_CACHE", str(place / "s.yaml"))
    study = load(write(f"{{name: camvid, root: {place}/camvid, size: [32, 64]}}"), (), env={})
    with pytest.raises(InputError, match=r"^[^\n]*s\.yaml: cache: [^\n]* cannot be written[^\n]*$"):
        cache_data(study)


def test_data_that_vanish_between_the_check_and_the_launch_are_one_line(place: Path, write: Write) -> None:
    camvid_tree(place / "camvid")
    study = load(write(f"{{name: camvid, root: {place}/camvid, size: [32, 64]}}"), (), env={})
    cache_data(study)
    (place / "camvid").rename(place / "elsewhere")
    expected = rf"^[^\n]*s\.yaml: data\.root: no folder {place}/camvid;[^\n]*$"
    with pytest.raises(InputError, match=expected):
        check_data_unchanged(study, {})
    with pytest.raises(InputError, match=expected):
        rare_class_names(study, {})
    looking = look_through(study, None)  # beside Ray's start: told when it is asked for
    with pytest.raises(InputError, match=expected):
        looking.result()


def test_every_size_is_cached_once_whatever_the_augmentation(place: Path, write: Write) -> None:
    camvid_tree(place / "camvid")
    options = "size: {choice: [[32, 64], [64, 64]]}, augment: {flip: {choice: [true, false]}, scale: [0.5, 2.0]"
    photometric = "photometric: {uniform: [0, 0.5]}}"
    study: Study = load(write(f"{{name: camvid, root: {place}/camvid, {options}, {photometric}}}"), (), env={})
    sections = foreseen(study).data
    assert [section.size for section in sections] == [(32, 64), (64, 64)]
    cache_data(study)
    assert len(list((place / "cache").glob("*.arrow"))) == 2
    for section in sections:
        data = {**section.model_dump(mode="json"), "augment": {"flip": True}}
        assert f"-{data_fingerprint({'data': data})}." in cache_path(section).name  # type: ignore[arg-type]


def test_shapes_are_not_cached_but_have_a_fingerprint(place: Path, write: Write) -> None:
    study = load(write("{name: shapes, rho: {uniform: [0, 1]}, train_images: {int: [4, 5]}}"), (), env={})
    cache_data(study)
    assert not (place / "cache").exists()
    prints = {data_fingerprint({"data": {"name": "shapes", "rho": rho}}) for rho in (0.1, 0.2)}
    assert len(prints) == 2


def test_a_folder_gives_its_classes_to_the_metrics(
    place: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folder_tree(place / "mine")
    section = f"{{name: folder, root: {data.root}, size: [32, 64]}}"
    study = load(write(section, "val/iou/thing"), (), env={})
    assert [pair.label.name for pair in pairs(data, "val")] == ["c.png"]
    assert main([str(write(section, "val/iou/sky"))]) == 2
    assert "unknown metric 'val/iou/sky'" in capsys.readouterr().err
    draw_data(study, place / "pictures")
    found = sorted(path.name for path in (place / "pictures/folder").iterdir())
    assert found == ["class_shares.png", "co_occurrence.png", "samples.png"]
    (Path(data.root) / "classes.yaml").write_text("classes: [{name: a, id: 999}]")
    assert main([str(write(section))]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"{place}/s.yaml:4 data.root: {data.root}/classes.yaml:1 classes[0].id: ")


def test_no_error_of_a_launch_shows_what_a_variable_holds(place: Path, write: Write) -> None:
    camvid_tree(place / "hunter2")
    _cut(place / "hunter2")
    env = {"ROOT": f"{place}/hunter2"}
    study = load(write("{name: camvid, root: '${ROOT}', size: [32, 64]}"), (), env=env)
    with pytest.raises(InputError, match=r"^[^\n]*s\.yaml: \$\{ROOT\}/train/001\.png: cannot be decoded[^\n]*$"):
        cache_data(study)
