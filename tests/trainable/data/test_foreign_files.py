"""Links, pipes and names as file systems keep them: one file in both splits is seen, and nothing hangs or misleads."""

import os
import shutil
import socket
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import camvid_tree, own_tree, picture, png, voc_tree

from trainable.data.config import FileData, FolderData
from trainable.data.errors import DataError
from trainable.data.fingerprint import fingerprint
from trainable.data.layout import check_data, layout_notes, pairs
from trainable.data.notes import data_notes


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DROPCLASS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def framed(root: Path, name: str = "a.png", mask: str | None = None) -> tuple[FolderData, Path, Path]:
    """A data set of one training frame: the section, its image and its mask, which holds both classes."""
    data = own_tree(root)
    files = root / "images/train" / name, root / "masks/train" / (mask or name)
    png(files[0], picture(np.random.default_rng(0)))
    png(files[1], np.tile([10, 200], (32, 32)))
    return data, *files


def refusal(data: FileData) -> str:
    with pytest.raises(DataError) as caught:
        check_data(data)
    assert str(caught.value).isprintable()
    return str(caught.value)


def relink(path: Path, target: Path) -> None:
    path.symlink_to(os.path.relpath(target, path.parent))


@pytest.mark.parametrize("link", [Path.symlink_to, relink, Path.hardlink_to])
@pytest.mark.parametrize("name", ["v.png", "other.png"])
def test_a_file_of_both_splits_is_refused(link: Callable[[Path, Path], None], name: str, tmp_path: Path) -> None:
    data, image, mask = framed(tmp_path)
    link(image.with_name(name), tmp_path / "images/val/v.png")
    shutil.copy(mask, mask.with_name(name))
    where = "" if name == "v.png" else " (in val as v.png)"
    expected = f"{image.with_name(name)} is in both splits{where}; scores on training images say nothing"
    assert refusal(data) == f"data.root: {expected}"


def test_both_splits_may_be_linked_to_one_place_from_other_roots(tmp_path: Path) -> None:
    camvid, away = camvid_tree(tmp_path / "camvid"), tmp_path / "away"
    away.mkdir()
    for kind in ("", "annot"):
        shutil.move(tmp_path / f"camvid/val{kind}/001.png", away / f"{kind}1.png")
        for split in ("train", "val"):
            name = "001.png" if split == "val" else "zz.png"
            (tmp_path / "camvid" / f"{split}{kind}" / name).symlink_to(away / f"{kind}1.png")
    assert refusal(camvid).endswith(
        "train/zz.png is in both splits (in val as 001.png); scores on training images say nothing"
    )
    voc = voc_tree(tmp_path / "voc")
    photos = tmp_path / "voc/VOCdevkit/VOC2012/JPEGImages"
    (photos / "v.jpg").unlink()
    (photos / "v.jpg").hardlink_to(photos / "a.jpg")
    assert refusal(voc).endswith("a.jpg is in both splits (in val as v.jpg); scores on training images say nothing")


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(os.path.relpath(path))


NO_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a pipe": (os.mkfifo, "no file but a pipe, a socket or a device"),
    "a socket": (listen, "no file but a pipe, a socket or a device"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "no file but a pipe, a socket or a device"),
    "a link to nothing": (lambda path: path.symlink_to("/nowhere/x"), "a link to /nowhere/x, which is not there"),
}


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("place", ["images/train/a.png", "masks/train/a.png", "classes.yaml", "train.txt"])
def test_what_is_no_file_is_one_line_and_never_read(
    kind: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _, _ = framed(tmp_path)
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    (tmp_path / place).unlink(missing_ok=True)
    make, what = NO_FILES[kind]
    make(tmp_path / place)
    expected = {"classes.yaml": "a text", "train.txt": "a list"}.get(place, "a picture")
    assert refusal(data) == f"data.root: {tmp_path / place} is {what}; {expected} is expected there"


def test_a_folder_in_place_of_a_mask_and_a_link_to_itself(tmp_path: Path) -> None:
    data, image, mask = framed(tmp_path)
    mask.unlink()
    mask.mkdir()
    assert refusal(data) == f"data.root: {mask} is a folder; a picture is expected there"
    image.unlink()
    image.symlink_to(image)
    assert "Too many levels of symbolic links" in refusal(data)
    voc = voc_tree(tmp_path / "voc")
    photo = pairs(voc, "train")[0].image
    photo.unlink()
    os.mkfifo(photo)
    assert (
        refusal(voc) == f"data.root: {photo} is no file but a pipe, a socket or a device; a picture is expected there"
    )


@pytest.mark.parametrize("name", ["é.png", "stra\u00dfe/\u00fc\u0323.png", "\uac00.png"])
@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC")])
def test_letters_are_the_same_composed_or_not(name: str, forms: tuple[str, str], tmp_path: Path) -> None:
    names = [unicodedata.normalize(form, name) for form in forms]  # type: ignore[arg-type]
    data, image, mask = framed(tmp_path, *names)
    (pair,) = pairs(data, "train")
    assert (pair.image, pair.label) == (image, mask)
    assert layout_notes(data) == ()
    for form in ("NFC", "NFD"):
        (tmp_path / "train.txt").write_text(unicodedata.normalize(form, f"train/{name}"))  # type: ignore[arg-type]
        (tmp_path / "val.txt").write_text("val/v")
        (pair,) = pairs(data, "train")
        assert (pair.image, pair.label) == (image, mask)


def test_no_name_breaks_a_line(tmp_path: Path) -> None:
    data, image, mask = framed(tmp_path, "a\nb\x1b[31m.png")
    (image.parent / "q\u2028z.gif").write_bytes(b"")
    assert [pair.label for pair in pairs(data, "train")] == [mask]
    (note,) = data_notes(data)
    assert note.endswith("1 not read (images are .png, .jpg, .jpeg, .tif, .tiff, .bmp, .webp): q\\u2028z.gif")
    image.write_bytes(b"broken")
    with pytest.raises(DataError) as caught:
        data_notes(data)
    kind = "it is no picture of a kind that Pillow knows"
    assert str(caught.value) == f"{tmp_path}/images/train/a\\nb\\x1b[31m.png: cannot be decoded ({kind})"
    mask.unlink()
    assert refusal(data).endswith("the first is a\\nb\\x1b[31m.png, expected at " + f"{mask.parent}/a\\nb\\x1b[31m.png")


def test_the_exif_of_a_mask_is_told(tmp_path: Path, cache: Path) -> None:
    data, image, mask = framed(tmp_path)
    ids, exif = np.repeat([10, 200], 32).astype(np.uint8)[None].repeat(32, axis=0), Image.Exif()
    marks = set()
    for orientation in (1, 3):
        exif[0x112] = orientation
        Image.fromarray(ids).save(mask, exif=exif)
        notes = data_notes(data)
        told = f"their masks are turned upright, as the EXIF orientations of the masks say; the first is {image}"
        assert notes == (() if orientation == 1 else (f"1 of 2 images: {told}",))
        marks.add(fingerprint(data, cache))
    assert len(marks) == 2
    exif[0x112] = 6
    Image.fromarray(ids).save(mask, exif=exif)
    with pytest.raises(DataError) as caught:
        data_notes(data)
    turned = "32x64 once turned by its EXIF orientation 6"
    assert str(caught.value) == f"{mask}: {turned}, but its image a.png has 64x32"


def test_the_fingerprint_says_that_a_mask_is_turned(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache of an earlier version holds it unturned, or without the note."""
    data, _, mask = framed(tmp_path)
    exif = Image.Exif()
    exif[0x112] = 3
    Image.fromarray(np.full((32, 64), 10, dtype=np.uint8)).save(mask, exif=exif)
    now = fingerprint(data, cache)
    monkeypatch.setattr("trainable.data.fingerprint.orientation_of", lambda _: 1)
    shutil.rmtree(cache)
    assert fingerprint(data, cache) != now
