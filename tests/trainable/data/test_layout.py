import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from trees import camvid_tree, cityscapes_tree, folder_tree, png, voc_tree

from trainable.data.classes import IGNORE_INDEX, class_map, class_names
from trainable.data.config import CamVidData, CityscapesData, FileData, FolderData, ShapesData, VocData
from trainable.data.decode import PADDING_COLOUR, Decoder
from trainable.data.folder_classes import read_classes
from trainable.data.layout import DataError, Pair, check_data, pairs

TREES: dict[str, Callable[[Path], FileData]] = {
    "camvid": camvid_tree,
    "cityscapes": cityscapes_tree,
    "voc": voc_tree,
    "folder": folder_tree,
}


@pytest.fixture
def camvid(tmp_path: Path) -> CamVidData:
    return camvid_tree(tmp_path)


@pytest.fixture
def cityscapes(tmp_path: Path) -> CityscapesData:
    return cityscapes_tree(tmp_path)


@pytest.fixture
def voc(tmp_path: Path) -> VocData:
    return voc_tree(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> FolderData:
    return folder_tree(tmp_path)


def message(data: Any) -> str:
    with pytest.raises(DataError) as caught:
        check_data(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def refusal(data: FileData, split: Any = "train") -> str:
    """What decoding a split says."""
    with pytest.raises(DataError) as caught:
        list(map(Decoder.of(data).decode, pairs(data, split)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", TREES)
def test_every_layout_is_complete_and_decodes(name: str, tmp_path: Path) -> None:
    """The contract of every data set."""
    data = TREES[name](tmp_path)
    check_data(data)
    decoder = Decoder.of(data)
    for split in ("train", "val"):
        found = pairs(data, split)
        assert list(found) == list(pairs(data, split))
        for pair in found:
            image, label = decoder.decode(pair)
            assert (image.shape, image.dtype) == ((3, *data.size), np.uint8)
            assert (label.shape, label.dtype) == (data.size, np.uint8)
            assert set(np.unique(label)) <= {*range(len(class_names(data))), IGNORE_INDEX}


@pytest.mark.parametrize("name", ["shapes", *TREES])
def test_every_class_has_a_name_an_id_and_a_colour_of_its_own(name: str, tmp_path: Path) -> None:
    classes = class_map(TREES[name](tmp_path) if name in TREES else ShapesData(name="shapes"))
    count = len(classes.names)
    assert len(set(classes.names)) == len(set(classes.ids)) == len(set(classes.colours)) == count
    assert not classes.ignored & set(classes.ids)


@pytest.mark.parametrize("name", TREES)
def test_a_missing_root_says_what_it_must_hold(name: str, tmp_path: Path) -> None:
    data = TREES[name](tmp_path).model_copy(update={"root": "no/such/folder"})
    wanted = {"camvid": "trainannot/", "cityscapes": "leftImg8bit/", "voc": "JPEGImages/", "folder": "classes.yaml"}
    assert message(data).startswith("data.root: no folder no/such/folder; it must hold ")
    assert wanted[name] in message(data)


def test_cityscapes_and_camvid_pair_images_with_labels(tmp_path: Path) -> None:
    camvid, cityscapes = camvid_tree(tmp_path / "camvid"), cityscapes_tree(tmp_path / "cityscapes")
    assert [(pair.image.name, pair.label.name) for pair in pairs(camvid, "train")] == [
        ("000.png", "000.png"),
        ("001.png", "001.png"),
    ]
    assert [pair.label.name for pair in pairs(cityscapes, "train")] == [
        "aachen_0_1_gtFine_labelIds.png",
        "ulm_0_1_gtFine_labelIds.png",
    ]


def test_camvid_can_be_scored_on_its_test_split(camvid: CamVidData) -> None:
    root = Path(camvid.root)
    png(root / "test/t.png", np.zeros((32, 64, 3)))
    png(root / "testannot/t.png", np.zeros((32, 64)))
    tested = camvid.model_copy(update={"eval_split": "test"})
    check_data(tested)
    assert [pair.image.name for pair in pairs(tested, "val")] == ["t.png"]
    assert pairs(tested, "train") == pairs(camvid, "train")


def test_coarse_frames_of_cityscapes_are_trained_on_when_asked_for(cityscapes: CityscapesData) -> None:
    root = Path(cityscapes.root)
    png(root / "leftImg8bit/train_extra/graz/graz_0_1_leftImg8bit.png", np.zeros((32, 64, 3)))
    png(root / "gtCoarse/train_extra/graz/graz_0_1_gtCoarse_labelIds.png", np.full((32, 64), 7))
    coarse = cityscapes.model_copy(update={"coarse": True})
    assert len(pairs(cityscapes, "train")) == 2
    assert pairs(coarse, "train")[2].label.name == "graz_0_1_gtCoarse_labelIds.png"
    assert pairs(coarse, "val") == pairs(cityscapes, "val")


def test_voc_trains_on_sbd_where_its_list_is_present(voc: VocData) -> None:
    def names(data: VocData) -> list[tuple[str, str]]:
        return [(pair.image.name, pair.label.parent.name) for pair in pairs(data, "train")]

    plain = [("a.jpg", "SegmentationClass"), ("b.jpg", "SegmentationClass")]
    assert names(voc) == plain
    listed = Path(voc.root) / "VOCdevkit/VOC2012/ImageSets/Segmentation/train_aug.txt"
    listed.write_text("a\nc\n")
    augmented = [("a.jpg", "SegmentationClassAug"), ("c.jpg", "SegmentationClassAug")]
    assert names(voc) == augmented
    listed.write_text("/JPEGImages/a.jpg /SegmentationClassAug/a.png\n/JPEGImages/c.jpg /SegmentationClassAug/c.png\n")
    assert names(voc) == augmented
    assert names(voc.model_copy(update={"train_aug": False})) == plain
    inside = voc.model_copy(update={"root": f"{voc.root}/VOCdevkit/VOC2012"})
    assert names(inside) == augmented
    listed.write_text("a\nmissing\n")
    assert "train_aug.txt names missing, but there is no " in message(voc)
    listed.write_text("a\nv\n")
    assert "v.jpg is in both splits" in message(voc)


def test_a_palette_label_holds_ids_and_void_is_ignored(voc: VocData) -> None:
    """Against PIL and numpy alone; the frame is 48 of 64 rows high, the rest is padding."""
    (first, _), decoder = pairs(voc, "train"), Decoder.of(voc)
    image, label = decoder.decode(first)
    raw = np.asarray(Image.open(first.label))
    assert Image.open(first.label).mode == "P"
    assert raw.shape == (48, 64)
    np.testing.assert_array_equal(label[:48], raw)
    assert (label[48:] == IGNORE_INDEX).all()
    assert (image[:, 48:].reshape(3, -1).T == PADDING_COLOUR).all()
    assert {0, 1, 15, 20, 255} == set(np.unique(raw))


def test_a_frame_keeps_its_aspect_where_a_data_set_has_many(voc: VocData) -> None:
    label = Decoder.of(voc.model_copy(update={"size": (32, 64)})).decode(pairs(voc, "train")[1])[1]
    assert (label[:, 20:] == IGNORE_INDEX).all()  # 64x40 pixels fit into a height of 32 as 32x20
    assert (label[:, :20] != IGNORE_INDEX).any()


def test_a_folder_lists_its_classes_and_its_splits(folder: FolderData) -> None:
    root = Path(folder.root)
    classes = class_map(folder)
    assert (classes.names, classes.ids, classes.ignored) == (("ground", "thing"), (10, 200), {0, 255})
    assert classes.colours[0] == (10, 20, 30)
    (_, deep) = pairs(folder, "train")
    assert deep.label == root / "masks/train/deep/b.png"
    raw, label = np.asarray(Image.open(deep.label)), Decoder.of(folder).decode(deep)[1]
    np.testing.assert_array_equal(label == 0, raw == 10)
    np.testing.assert_array_equal(label == 1, raw == 200)
    (root / "train.txt").write_text("train/deep/b\nval/c\n")
    (root / "val.txt").write_text("train/a\n")
    assert [pair.label.name for pair in pairs(folder, "train")] == ["b.png", "c.png"]
    assert [pair.image.name for pair in pairs(folder, "val")] == ["a.png"]
    (root / "val.txt").write_text("val/d\n")
    assert f"val.txt names val/d, but there is no {root}/images/val/d.png or .jpg" in message(folder)


WRONG_CLASSES = {
    "": ":1: the file is empty; classes.yaml is a mapping with the keys classes, ignore,",
    "classes: [": ":1: YAML syntax: while parsing a flow node",
    "classes: []": ":1 classes: expected at least 1 value, got 0",
    "classes: [{name: a, id: 256}]": ":1 classes[0].id: must be <= 255, got 256",
    "classes: [{name: a/b, id: 1}]": ":1 classes[0].name: 'a/b' is no class name: letters,",
    "classes: [{name: a, id: 1}, {name: a, id: 2}]": ":1 classes[1].name: name a stands there twice",
    "classes:\n- {name: a, id: 1}\n- {name: b, id: 1}\n": ":3 classes[1].id: id 1 stands there twice",
    "classes: [{name: a, id: 255}]": ":1 classes[0].id: id 255 stands there twice: it is a class, and ignored by",
    "classes: [{name: a, id: 1, color: [0, 0, 0]}]": ":1 classes[0].color: unknown key 'color'; one of name, id,",
    "classes: [{name: a, id: 1, colour: [0, 0]}]": ":1 classes[0].colour[2]: missing",
    "classes: [{name: a, id: 1, id: 2}]": ":1 classes[0].id: duplicate key 'id'; first written at ",
}


@pytest.mark.parametrize(("content", "expected"), WRONG_CLASSES.items())
def test_a_wrong_classes_yaml_is_one_line_that_names_it(folder: FolderData, content: str, expected: str) -> None:
    path = Path(folder.root) / "classes.yaml"
    path.write_text(content)
    assert message(folder).startswith(f"data.root: {path}{expected}")


def test_all_mistakes_of_a_classes_yaml_come_at_once(folder: FolderData) -> None:
    path = Path(folder.root) / "classes.yaml"
    path.write_text("classes:\n- {name: a, id: on}\n- {name: 010, id: 256}\nignored: [1]\n")
    with pytest.raises(DataError) as caught:
        read_classes(path.parent)
    assert [line.partition(": ")[2] for line in str(caught.value).splitlines()] == [
        f"{path}:2 classes[0].id: expected a whole number, got 'on'",
        f"{path}:3 classes[1].name: expected text, got 10; quote it",
        f"{path}:3 classes[1].id: must be <= 255, got 256",
        f"{path}:4 ignored: unknown key 'ignored'; one of classes, ignore, ignore_colours, mask "
        "(did you mean 'ignore'?)",
    ]
    path.write_text("classes:\n- {name: a, id: 1}\n- {name: a, id: 1}\nignore: [0, 0]\n")
    with pytest.raises(DataError) as caught:
        read_classes(path.parent)
    assert [line.split()[1:3] for line in str(caught.value).splitlines()] == [
        [f"{path}:3", "classes[1].name:"], [f"{path}:3", "classes[1].id:"], [f"{path}:4", "ignore[1]:"],
    ]  # fmt: skip


def test_a_missing_classes_yaml_is_named(folder: FolderData) -> None:
    (Path(folder.root) / "classes.yaml").unlink()
    assert message(folder).endswith("classes.yaml: cannot be read (No such file or directory); it names the classes")


def test_a_missing_folder_is_named(camvid: CamVidData) -> None:
    annotated = Path(camvid.root) / "valannot"
    annotated.rename(annotated.with_name("elsewhere"))
    assert f"no folder {annotated}" in message(camvid)


def test_an_image_without_label_is_named(tmp_path: Path) -> None:
    for name, tree in TREES.items():
        data = tree(tmp_path / name)
        label = pairs(data, "val")[0].label
        label.unlink()
        assert "images have no label; the first is " in message(data), name
        assert str(label) in message(data)


def test_an_empty_split_is_named(tmp_path: Path) -> None:
    empty = {
        "camvid": "/val holds no *.png",
        "cityscapes": "/val holds no CITY/*_leftImg8bit.png",
        "folder": "/val holds no image",
    }
    for name, expected in empty.items():
        data = TREES[name](tmp_path / name)
        for pair in pairs(data, "val"):
            pair.image.unlink()
        assert expected in message(data)
    voc = voc_tree(tmp_path / "voc")
    (tmp_path / "voc/VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").write_text("\n")
    assert "val.txt lists no frame" in message(voc)


def test_an_unreadable_folder_is_named(camvid: CamVidData, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may run as root, who can read everything: let the system call say no."""
    scandir, hidden = os.scandir, Path(camvid.root) / "trainannot"

    def refuse(path: Any) -> Any:
        if Path(path) == hidden:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert message(camvid) == f"data.root: {hidden}: cannot be read (Permission denied)"


def test_broken_files_are_named(camvid: CamVidData) -> None:
    first = pairs(camvid, "train")[0]
    whole = first.image.read_bytes()
    for broken in (b"", b"\x89PNG not really", whole[: len(whole) // 2], whole[:40] + b"\0\0\0\0" + whole[44:]):
        first.image.write_bytes(broken)
        assert refusal(camvid).startswith(f"{first.image}: cannot be decoded (")
    first.image.write_bytes(whole)
    label = first.label.read_bytes()
    first.label.write_bytes(label[:-30])
    assert refusal(camvid).startswith(f"{first.label}: cannot be decoded (")


def test_labels_that_do_not_fit_are_named(camvid: CamVidData) -> None:
    label = pairs(camvid, "train")[0].label
    png(label, np.zeros((32, 64, 3)))
    assert refusal(camvid) == f"{label}: mode RGB; a label holds one class id per pixel (mode L or P)"
    png(label, np.zeros((16, 64)))
    assert refusal(camvid) == f"{label}: 64x16 pixels, but its image 000.png has 64x32"


@pytest.mark.parametrize(("name", "unknown"), [("camvid", 12), ("cityscapes", 34), ("voc", 21), ("folder", 11)])
def test_a_label_id_outside_the_map_is_named(name: str, unknown: int, tmp_path: Path) -> None:
    data = TREES[name](tmp_path)
    label = pairs(data, "train")[1].label
    array = np.array(Image.open(label))
    array[3, 4:6] = unknown
    png(label, array)
    assert refusal(data) == f"{label}: label id {unknown} (2 pixels) is neither a class nor ignored"


def test_void_is_ignored(camvid: CamVidData, tmp_path: Path) -> None:
    assert Decoder.of(camvid).masks.table[[0, 10, 11]].tolist() == [0, 10, 255]
    cityscapes = Decoder.of(CityscapesData(name="cityscapes", root=".")).masks
    assert cityscapes.table[[0, 7, 26, 29, 33, 255]].tolist() == [255, 0, 13, 255, 18, 255]
    assert cityscapes.known[:34].all()


def test_a_pair_is_decoded_at_any_size(camvid: CamVidData) -> None:
    pair = Pair(*(getattr(pairs(camvid, "val")[0], name) for name in ("image", "label")))
    image, label = Decoder.of(camvid.model_copy(update={"size": (64, 32)})).decode(pair)
    assert (image.shape, label.shape) == ((3, 64, 32), (64, 32))
