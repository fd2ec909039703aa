from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainable.data.config import CamVidData, CityscapesData, ShapesData
from trainable.data.decode import decode_label, decode_pair, train_ids
from trainable.data.frames import PngFrames
from trainable.data.layout import DataError, Pair, check_data, pairs


def png(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8)).save(path)


@pytest.fixture
def camvid(tmp_path: Path) -> CamVidData:
    for split in ("train", "val"):
        for name in ("b", "a"):
            png(tmp_path / split / f"{name}.png", np.full((32, 64, 3), 50))
            png(tmp_path / f"{split}annot" / f"{name}.png", np.arange(32 * 64).reshape(32, 64) % 12)
    return CamVidData(name="camvid", root=str(tmp_path), size=(32, 32))


@pytest.fixture
def cityscapes(tmp_path: Path) -> CityscapesData:
    for split, city in (("train", "aachen"), ("train", "ulm"), ("val", "bonn")):
        png(tmp_path / f"leftImg8bit/{split}/{city}/{city}_0_1_leftImg8bit.png", np.full((32, 64, 3), 50))
        png(tmp_path / f"gtFine/{split}/{city}/{city}_0_1_gtFine_labelIds.png", np.full((32, 64), 26))
    return CityscapesData(name="cityscapes", root=str(tmp_path), size=(32, 64))


def message(data: CamVidData | CityscapesData) -> str:
    with pytest.raises(DataError) as caught:
        check_data(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_complete_layouts_pass(camvid: CamVidData, cityscapes: CityscapesData) -> None:
    check_data(ShapesData(name="shapes"))
    check_data(camvid)
    check_data(cityscapes)
    assert [pair.image.name for pair in pairs(camvid, "train")] == ["a.png", "b.png"]
    assert [pair.label.name for pair in pairs(cityscapes, "train")] == [
        "aachen_0_1_gtFine_labelIds.png",
        "ulm_0_1_gtFine_labelIds.png",
    ]


@pytest.mark.parametrize(("kind", "wanted"), [(CamVidData, "trainannot/"), (CityscapesData, "leftImg8bit/")])
def test_a_missing_root_says_what_it_must_hold(kind, wanted: str) -> None:
    name = "camvid" if kind is CamVidData else "cityscapes"
    assert message(kind(name=name, root="no/such/folder")).startswith("data.root: no folder no/such/folder; it must")
    assert wanted in message(kind(name=name, root="no/such/folder"))


def test_a_missing_folder_is_named(camvid: CamVidData) -> None:
    folder = Path(camvid.root) / "valannot"
    folder.rename(folder.with_name("elsewhere"))
    assert f"no folder {folder}" in message(camvid)


def test_an_image_without_label_is_named(camvid: CamVidData, cityscapes: CityscapesData) -> None:
    (Path(camvid.root) / "valannot" / "b.png").unlink()
    assert "1 of 2 images have no label; the first is b.png" in message(camvid)
    next(Path(cityscapes.root).glob("gtFine/val/bonn/*")).unlink()
    assert "1 of 1 images have no label" in message(cityscapes)


def test_an_empty_split_is_named(camvid: CamVidData, cityscapes: CityscapesData) -> None:
    for path in (Path(camvid.root) / "train").iterdir():
        path.unlink()
    assert "holds no *.png" in message(camvid)
    next(Path(cityscapes.root).glob("leftImg8bit/val/bonn/*")).unlink()
    assert "holds no CITY/*_leftImg8bit.png" in message(cityscapes)


def test_broken_files_are_named(tmp_path: Path, camvid: CamVidData) -> None:
    table = train_ids(camvid)
    image, label = tmp_path / "train/a.png", tmp_path / "trainannot/a.png"
    assert decode_pair(Pair(image, label), (32, 64), table)[0].shape == (3, 32, 64)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG not really")
    with pytest.raises(DataError, match=r"broken\.png: cannot be decoded"):
        decode_pair(Pair(tmp_path / "broken.png", label), (32, 64), table)
    png(tmp_path / "colour.png", np.zeros((32, 64, 3)))
    with pytest.raises(DataError, match="one class id per pixel"):
        decode_label(Pair(image, tmp_path / "colour.png"), (32, 64), table)
    png(tmp_path / "small.png", np.zeros((16, 64)))
    with pytest.raises(DataError, match="differs from its image"):
        decode_pair(Pair(image, tmp_path / "small.png"), (32, 64), table)


def test_void_and_unknown_ids_are_ignored(camvid: CamVidData, cityscapes: CityscapesData) -> None:
    assert train_ids(camvid)[[0, 10, 11, 12, 255]].tolist() == [0, 10, 255, 255, 255]
    assert train_ids(cityscapes)[[0, 7, 26, 29, 33, 255]].tolist() == [255, 0, 13, 255, 18, 255]


def test_frames_decoded_ahead_equal_frames_in_memory(camvid: CamVidData) -> None:
    import torch

    lazy = PngFrames(pairs(camvid, "train") * 3, camvid.size, train_ids(camvid))
    held = lazy.hold()
    indices = [torch.tensor([0, 3]), torch.tensor([5, 2]), torch.tensor([1])]
    for ours, theirs in zip(lazy.batches(indices), held.batches(indices), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert (lazy.class_pixels(11) == held.class_pixels(11)).all()
    half_used = lazy.batches(indices)
    next(half_used)
    half_used.close()  # type: ignore[attr-defined]
    assert len(lazy.first(2)) == len(held.first(2)) == 2
