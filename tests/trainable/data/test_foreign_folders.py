"""Folders and lists as people keep them: every frame is found, and what is not read is counted and named."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import CLASSES_YAML, camvid_tree, cityscapes_tree, folder_tree, own_tree, picture, png, voc_tree

from trainable.data.__main__ import main
from trainable.data.config import FolderData
from trainable.data.errors import DataError
from trainable.data.layout import check_data, layout_notes, pairs

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPCLASS_CACHE", str(tmp_path / "cache"))


def frame(root: Path, name: str, split: str = "train", mask: str | None = None) -> None:
    """An image of the name's type, and its mask."""
    image = root / "images" / split / name
    image.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(RNG).astype(np.uint8)).save(image)
    png(root / "masks" / split / (mask or f"{Path(name).with_suffix('')}.png"), np.full((32, 64), 10))


def names(data: FolderData, split: str = "train") -> list[str]:
    return [pair.image.name for pair in pairs(data, split)]  # type: ignore[arg-type]


def refusal(data: FolderData) -> str:
    with pytest.raises(DataError) as caught:
        check_data(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    data = own_tree(tmp_path / "data")
    root, away = tmp_path / "data", tmp_path / "away"
    frame(root, "cityA/a.png")
    for name in ("cityB/b.png", "cityB/deep/c.png", "d.png"):
        frame(away, name)
    for kind in ("images", "masks"):
        (root / kind / "train/cityB").symlink_to(away / kind / "train/cityB")
        (root / kind / "train/d.png").symlink_to(away / kind / "train/d.png")
        (root / kind / "train/cityA/again").symlink_to(root / kind / "train")  # a loop
        (root / kind / "train/cityA/up").symlink_to(root)
    assert names(data) == ["a.png", "b.png", "c.png", "d.png"]
    assert layout_notes(data) == ()


def test_a_linked_split_is_followed_and_the_same_frames_in_both_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "data"
    data = own_tree(root)
    for kind in ("images", "masks"):
        (root / kind / "train").symlink_to(root / kind / "val")
    assert names(data) == ["v.png"]
    assert refusal(data).endswith("v.png is in both splits; scores on training images say nothing")


def test_a_linked_city_and_a_link_to_nothing(tmp_path: Path) -> None:
    cityscapes, away = cityscapes_tree(tmp_path / "data"), tmp_path / "away"
    for kind in ("leftImg8bit", "gtFine"):
        path = tmp_path / "data" / kind / "train/ulm"
        path.rename(away := tmp_path / f"{kind}-ulm")
        path.symlink_to(away)
        (path.parent / "jena").symlink_to(tmp_path / "gone")
    assert [pair.image.parent.name for pair in pairs(cityscapes, "train")] == ["aachen", "ulm"]
    assert layout_notes(cityscapes)[0].endswith("1 not read (images are CITY/*_leftImg8bit.png): jena")


def test_all_types_are_read_and_the_rest_is_counted_and_named(tmp_path: Path) -> None:
    data = own_tree(tmp_path)
    types = ["a.tif", "b.tiff", "c.bmp", "d.webp", "e.JPG", "f.jpeg", "g.PNG"]
    for name in types:
        frame(tmp_path, name)
    assert names(data) == types
    assert layout_notes(data) == ()
    for name in ("x.gif", "y.heic", "deep/z.npy", "Thumbs.db"):
        path = tmp_path / "images/train" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    for name in ("lone.png", "other.png"):
        png(tmp_path / "masks/train" / name, np.zeros((32, 64)))
    assert names(data) == types
    kinds = ".png, .jpg, .jpeg, .tif, .tiff, .bmp, .webp"
    assert layout_notes(data) == (
        f"{tmp_path}/images/train: 4 not read (images are {kinds}): Thumbs.db, deep/z.npy, x.gif, ...",
        f"{tmp_path}/masks/train: 2 without an image: lone.png, other.png",
    )


def test_what_other_layouts_do_not_read_is_told(tmp_path: Path) -> None:
    camvid, cityscapes = camvid_tree(tmp_path / "camvid"), cityscapes_tree(tmp_path / "cityscapes")
    (tmp_path / "camvid/train/x.jpg").write_bytes(b"")
    png(tmp_path / "camvid/valannot/y.png", np.zeros((32, 64)))
    (tmp_path / "cityscapes/gtFine/train/ulm/ulm_0_1_gtFine_color.png").write_bytes(b"")
    png(tmp_path / "cityscapes/gtFine/train/ulm/ulm_0_2_gtFine_labelIds.png", np.zeros((32, 64)))
    assert layout_notes(camvid) == (
        f"{tmp_path}/camvid/train: 1 not read (images are *.png): x.jpg",
        f"{tmp_path}/camvid/valannot: 1 without an image: y.png",
    )
    lone = "ulm/ulm_0_2_gtFine_labelIds.png"
    assert layout_notes(cityscapes) == (f"{tmp_path}/cityscapes/gtFine/train: 1 without an image: {lone}",)


@pytest.mark.parametrize("junk", ["._a.png", ".ipynb_checkpoints/a-checkpoint.png", ".hidden.jpg", ".git/x.png"])
def test_hidden_files_are_no_frames(junk: str, tmp_path: Path) -> None:
    folder, camvid = folder_tree(tmp_path / "folder"), camvid_tree(tmp_path / "camvid")
    for images in (tmp_path / "folder/images/train", tmp_path / "camvid/train"):
        path = images / junk
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"junk")
    assert names(folder) == ["a.png", "b.png"]
    assert [pair.image.name for pair in pairs(camvid, "train")] == ["000.png", "001.png"]
    hidden = junk.partition("/")[0]
    assert layout_notes(folder) == (f"{tmp_path}/folder/images/train: 1 hidden, and no frames: {hidden}",)


def test_two_images_of_one_mask_are_told(tmp_path: Path) -> None:
    data = own_tree(tmp_path)
    for name in ("t00.jpg", "t00.png", "t01.png"):
        frame(tmp_path, name)
    assert len(names(data)) == 3
    assert layout_notes(data) == (f"{tmp_path}/masks/train: 1 are the mask of several images, each a frame: t00.png",)


def listed(root: Path, train: str | bytes, val: str = "val/c\n") -> FolderData:
    data = folder_tree(root)
    (root / "train.txt").write_bytes(train.encode() if isinstance(train, str) else train)
    (root / "val.txt").write_text(val)
    return data


@pytest.mark.parametrize(
    "train",
    [
        "\ufefftrain/a\ntrain/deep/b\n",
        "train/a.png\ntrain/deep/b.png",
        "train/a\r\n\r\n  train/deep/b  \r\n",
        "./train/a.png\nimages/train/deep/b.png\n",
        "train\\a\ntrain\\deep\\b.png\n",
        "train//a\ntrain/x/../deep/b.png\n",
        "train/a\rtrain/deep/b\r",
        "{images}/train/a.png\n{images}/train/deep/b\n",
    ],
)
def test_lists_are_read_as_editors_write_them(train: str, tmp_path: Path) -> None:
    data = listed(tmp_path, train.replace("{images}", f"{tmp_path}/images"))
    assert names(data) == ["a.png", "b.png"]
    assert [pair.label.name for pair in pairs(data, "train")] == ["a.png", "b.png"]
    assert layout_notes(data) == ()


def test_a_name_of_two_images_asks_for_the_type(tmp_path: Path) -> None:
    data = listed(tmp_path, "train/t00\n")
    for name in ("t00.jpg", "t00.png"):
        frame(tmp_path, name)
    assert refusal(data).endswith("train.txt names train/t00, which may be train/t00.jpg, train/t00.png; add the type")
    (tmp_path / "train.txt").write_text("train/t00.jpg\n")
    assert names(data) == ["t00.jpg"]


def test_lists_that_are_not_as_meant(tmp_path: Path) -> None:
    data = listed(tmp_path, "train/a\ntrain/a.png\ntrain/deep/b\n")
    assert layout_notes(data) == (f"{tmp_path}/train.txt: 1 frames stand there more than once: images/train/a.png",)
    (tmp_path / "train.txt").write_bytes("train/a\n".encode("utf-16"))
    assert refusal(data) == f"data.root: {tmp_path}/train.txt: cannot be read (not text in UTF-8)"
    (tmp_path / "train.txt").write_text("train/a\n")
    (tmp_path / "val.txt").unlink()
    assert refusal(data) == f"data.root: {tmp_path}/train.txt is there, but no val.txt; write both lists, or neither"
    (tmp_path / "train.txt").rename(tmp_path / "val.txt")
    assert refusal(data) == f"data.root: {tmp_path}/val.txt is there, but no train.txt; write both lists, or neither"


@pytest.mark.parametrize("mask", ["a_mask.png", "a_L.png", "a_labelIds.png", "mask-a.png", "a.PNG", "a.tif"])
def test_a_near_miss_is_named_and_its_pattern_is_read(mask: str, tmp_path: Path) -> None:
    data = own_tree(tmp_path)
    frame(tmp_path, "a.jpg", mask=mask)
    pattern = mask.replace("a", "{name}", 1) if not mask.startswith("mask") else "mask-{name}.png"
    expected = f'expected at {tmp_path}/masks/train/a.png; there is {mask}: write `mask: "{pattern}"` in classes.yaml'
    assert refusal(data).endswith(expected)
    (tmp_path / "masks/val/v.png").rename(tmp_path / "masks/val" / pattern.replace("{name}", "v"))
    (tmp_path / "classes.yaml").write_text(f'{CLASSES_YAML}mask: "{pattern}"\n')
    check_data(data)
    assert [pair.label.name for pair in pairs(data, "train")] == [mask]
    assert layout_notes(data) == ()


def test_a_mask_of_other_case_is_named(tmp_path: Path) -> None:
    data = own_tree(tmp_path)
    frame(tmp_path, "Ab.jpg", mask="aB.png")
    assert refusal(data).endswith("masks/train/Ab.png; there is aB.png")


@pytest.mark.parametrize("pattern", ["mask.png", "{name}_{name}.png", "masks/{name}.png"])
def test_a_pattern_that_is_none_is_refused(pattern: str, tmp_path: Path) -> None:
    data = own_tree(tmp_path, f'{CLASSES_YAML}mask: "{pattern}"\n')
    frame(tmp_path, "a.jpg")
    assert f"'{pattern}' must hold {{name}} once, and no /" in refusal(data)


@pytest.mark.parametrize("name", ["train_aug.txt", "trainaug.txt"])
@pytest.mark.parametrize(
    "content", ["a\nb\nc\n", "a.jpg\nb.jpg\nc.jpg\n", "/JPEGImages/c.jpg\t/SegmentationClassAug/c.png\n"]
)
def test_sbd_lists_go_by_both_names(name: str, content: str, tmp_path: Path) -> None:
    voc = voc_tree(tmp_path)
    lists = tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation"
    (lists / name).write_text(content)
    found = pairs(voc, "train")
    assert [pair.image.stem for pair in found] == (["c"] if "\t" in content else ["a", "b", "c"])
    assert {pair.label.parent.name for pair in found} == {"SegmentationClassAug"}
    assert layout_notes(voc) == ()


def test_sbd_labels_without_their_list_are_told(tmp_path: Path) -> None:
    voc = voc_tree(tmp_path)
    root = tmp_path / "VOCdevkit/VOC2012"
    (root / "ImageSets/Segmentation/aug.txt").write_text("c\n")
    lists = f"{root}/ImageSets/Segmentation"
    expected = f"{root}/SegmentationClassAug is not used: {lists} holds neither of train_aug.txt, trainaug.txt"
    assert layout_notes(voc) == (expected,)
    assert layout_notes(voc.model_copy(update={"train_aug": False})) == ()


def test_a_name_that_is_no_utf_8_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = own_tree(tmp_path)
    frame(tmp_path, "a.png")
    (tmp_path / "masks/train/\udcff.png").write_bytes(b"")
    (note,) = layout_notes(data)
    assert note.endswith("1 without an image: \\xff.png")
    os.rename(tmp_path / "images/train/a.png", tmp_path / "images/train/\udce9t\udce9.png")
    os.rename(tmp_path / "masks/train/a.png", tmp_path / "masks/train/\udce9t\udce9.png")
    expected = f"data.root: {tmp_path}/images/train/\\xe9t\\xe9.png: the name is not UTF-8; rename it"
    assert refusal(data) == expected
    assert main(["folder", "--root", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"folder: {expected}\n"
    assert main(["folder", "--root", "/tmp/\udcff"]) == 2
    assert capsys.readouterr().err == "folder: --root: /tmp/\\xff: the name is not UTF-8; rename the folder\n"


@pytest.mark.parametrize("root", ["", " ", "a\0b"])
def test_a_root_that_is_no_path_is_one_line(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["folder", "--root", root]) == 2
    printed = root.replace("\0", "\\x00")
    assert capsys.readouterr().err == f"folder: --root: expected the path of a folder, got '{printed}'\n"


def test_a_cache_whose_name_is_no_utf_8_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DROPCLASS_CACHE", f"{tmp_path}/\udcff")
    assert main(["camvid", "--root", camvid_tree(tmp_path).root]) == 2
    expected = f"camvid: DROPCLASS_CACHE: expected the path of a folder in UTF-8, got '{tmp_path}/\\xff'\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("root", ["~nosuchuser", "~nosuchuser/data"])
def test_no_such_home_is_one_line(
    root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("folder", "camvid"):
        assert main([name, "--root", root]) == 2
        expected = f"{name}: data.root: {root}: there is no such home folder; write the path from / on\n"
        assert capsys.readouterr().err == expected
    monkeypatch.setenv("DROPCLASS_CACHE", root)
    assert main(["camvid", "--root", camvid_tree(tmp_path).root]) == 2
    assert capsys.readouterr().err.startswith(f"camvid: DROPCLASS_CACHE: {root}: there is no such home folder")


SEALED = """
import encodings.utf_8_sig, os, sys  # the former late, by Python, from where that user may not look
from trainable.data.__main__ import main
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
sys.exit(main(["folder", "--root", sys.argv[1]]))
"""


@pytest.mark.parametrize("sealed", [".", "data", "data/images/train", "data/masks/train", "data/images/train/deep"])
def test_a_folder_without_permission_is_one_line(sealed: str) -> None:
    """Under a user of its own where the tests run as root, who may read everything."""
    import tempfile

    with tempfile.TemporaryDirectory() as place:  # pytest's own folders are closed to that user
        os.chmod(place, 0o755)
        root = Path(place) / "above/data"
        folder_tree(root)
        path = root.parent / sealed
        path.chmod(0)
        call = [sys.executable, "-c", SEALED, str(root)]
        done = subprocess.run(call, capture_output=True, text=True, check=False, env={**os.environ, "HOME": place})
        path.chmod(0o755)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.startswith("folder: data.root: ")
    assert "cannot be read (Permission denied)" in line


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("a", "train/a"),
        ("Train/A", "train/a"),
        ("train/a.jpg", "train/a.png"),
        ("images/train/a.png masks/train/a.png", "train/a.png"),
        ("C:\\data\\images\\train\\a.png", "train/a.png"),
        ('"train/a"', "train/a"),
    ],
)
def test_a_list_of_another_notation_is_told_what_it_may_mean(name: str, meant: str, tmp_path: Path) -> None:
    data = listed(tmp_path, name)
    assert refusal(data).startswith(f"data.root: {tmp_path}/train.txt names {name}, but there is no {tmp_path}/images/")
    assert refusal(data).endswith(f"; did you mean {meant}?")


@pytest.mark.parametrize("name", ["Train.txt", "train.lst", "TRAIN.CSV"])
def test_a_list_of_another_name_is_told(name: str, tmp_path: Path) -> None:
    data = folder_tree(tmp_path)
    (tmp_path / name).write_text("train/a\n")
    expected = f"{tmp_path}/{name} is not read: a list is called train.txt; all images of the folder train are"
    assert layout_notes(data) == (expected,)


def test_folders_and_classes_of_other_names_are_told(tmp_path: Path) -> None:
    data = folder_tree(tmp_path)
    (tmp_path / "images/val").rename(tmp_path / "images/valid")
    assert refusal(data).endswith("images/val; data.root must be the folder that holds it; there is train, valid")
    (tmp_path / "classes.yaml").rename(tmp_path / "classes.yml")
    assert refusal(data).endswith("; it names the classes; there is classes.yml: rename it")


def test_roots_that_link_to_each_other_end(tmp_path: Path) -> None:
    data, other = own_tree(tmp_path / "data"), own_tree(tmp_path / "other")
    for one, two in ((data, other), (other, data)):
        frame(Path(one.root), f"{Path(one.root).name}.png")
        for kind in ("images", "masks"):
            (Path(one.root) / kind / "train/away").symlink_to(Path(two.root) / kind / "train")
    assert names(data) == ["other.png", "data.png"]
    assert names(other) == ["data.png", "other.png"]
