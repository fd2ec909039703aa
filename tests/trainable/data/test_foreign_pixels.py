"""Images and labels as other tools write them: every value is read right, or one line says what is wrong."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import CLASSES_YAML, own_tree, png, raw_png, raw_tiff, voc_tree

from trainable.data.config import FolderData
from trainable.data.decode import Decoder
from trainable.data.errors import DataError
from trainable.data.fingerprint import fingerprint
from trainable.data.layout import pairs
from trainable.data.notes import data_notes

RAMP = np.linspace(0, 65535, 32 * 64).astype(np.uint16).reshape(32, 64)
EIGHT = (RAMP >> 8).astype(np.uint8)
RGB = np.stack([RAMP, RAMP[::-1], RAMP // 2], axis=-1)
IDS = np.random.default_rng(0).integers(0, 3, (32, 64)).astype(np.uint8)
COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255)], dtype=np.uint8)
BY_ID = "classes: [{name: a, id: 0}, {name: b, id: 1}, {name: c, id: 2}]"
BY_COLOUR = """
classes:
  - {name: a, id: 0, colour: [255, 0, 0]}
  - {name: b, id: 1, colour: [0, 255, 0]}
  - {name: c, id: 2, colour: [0, 0, 255]}
ignore_colours: [[9, 9, 9]]
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DROPCLASS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def framed(root: Path, image: str = "a.png", classes: str | None = None) -> tuple[FolderData, Path, Path]:
    """A data set of one training frame: the section, its image and its mask, both to be replaced."""
    data = own_tree(root) if classes is None else own_tree(root, classes)
    files = root / "images/train" / image, root / "masks/train/a.png"
    files[0].parent.mkdir(parents=True)
    png(files[1], np.tile([10, 200], (32, 32)))
    return data, *files


def read(data: FolderData) -> tuple[np.ndarray, np.ndarray]:
    return Decoder.of(data).decode(pairs(data, "train")[0])


def refusal(data: FolderData) -> str:
    with pytest.raises(DataError) as caught:
        read(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


DEEP: dict[str, Callable[[Path], None]] = {
    "a grey PNG": lambda path: raw_png(path, RAMP, 16, 0),
    "a grey PNG with alpha": lambda path: raw_png(path, np.stack([RAMP, RAMP | 65535], -1), 16, 4),
    "a TIFF": lambda path: raw_tiff(path, RAMP),
    "a TIFF that begins at white": lambda path: raw_tiff(path, 65535 - RAMP, photometric=0),
    "a big-endian TIFF": lambda path: Image.fromarray(RAMP.astype(">u2")).save(path),
    "a compressed TIFF": lambda path: Image.fromarray(RAMP).save(path, compression="tiff_lzw"),
}


@pytest.mark.parametrize("kind", DEEP)
def test_16_bit_grey_keeps_its_shades(kind: str, tmp_path: Path) -> None:
    data, image, _ = framed(tmp_path, "a.tif" if "TIFF" in kind else "a.png")
    DEEP[kind](image)
    for channel_HW in read(data)[0]:
        np.testing.assert_array_equal(channel_HW, EIGHT)
    assert data_notes(data) == (
        f"1 of 2 images: 16 bits a channel, of which the upper 8 are kept; the first is {image}",
    )


@pytest.mark.parametrize("kind", ["PNG", "PNG with alpha", "TIFF"])
def test_16_bit_colours_keep_their_shades(kind: str, tmp_path: Path) -> None:
    data, image, _ = framed(tmp_path, "a.tif" if kind == "TIFF" else "a.png")
    if kind == "TIFF":
        raw_tiff(image, RGB, photometric=2)
    elif kind == "PNG":
        raw_png(image, RGB, 16, 2)
    else:
        raw_png(image, np.concatenate([RGB, RGB[..., :1] | 65535], axis=-1), 16, 6)
    np.testing.assert_array_equal(read(data)[0], (RGB >> 8).transpose(2, 0, 1))
    assert "16 bits a channel, of which the upper 8 are kept" in data_notes(data)[0]


def test_12_bits_in_16_are_told(tmp_path: Path) -> None:
    data, image, _ = framed(tmp_path)
    raw_png(image, RAMP >> 4, 16, 0)
    assert "no value above 12 bits: they come out dark" in data_notes(data)[0]


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (RAMP.astype(np.float32), "F;32F"),
        (RAMP.astype(np.int16), "I;16S signed"),
        (RAMP.astype(np.int32), "I;32S signed"),
        (RAMP.astype(np.uint32), "I;32N"),
        (EIGHT.astype(np.int8), "L signed"),
    ],
)
def test_numbers_without_a_range_are_refused(array: np.ndarray, kind: str, tmp_path: Path) -> None:
    data, image, _ = framed(tmp_path, "a.tif")
    raw_tiff(image, array)
    expected = f"{image}: values of type {kind} have no range from black to white; save unsigned 8 or 16 bits"
    assert refusal(data) == expected


def test_what_pillow_would_misread_is_refused(tmp_path: Path) -> None:
    data, image, _ = framed(tmp_path, "a.tif")
    raw_tiff(image, RGB, photometric=2, planes=True)
    assert refusal(data).startswith(f"{image}: 16 bits a channel in one plane after the other cannot be decoded")
    page = Image.fromarray(EIGHT)
    page.save(image, save_all=True, append_images=[page])
    assert refusal(data) == f"{image}: holds 2 pages or frames; a picture is one"
    page.save(image, save_all=True, append_images=[page.reduce(2)])
    np.testing.assert_array_equal(read(data)[0][1], EIGHT)


def test_the_photo_of_a_phone_is_its_first_picture(tmp_path: Path) -> None:
    data, image, _ = framed(tmp_path, "a.jpg")
    photo = Image.fromarray(EIGHT).convert("RGB")
    photo.save(image, "MPO", save_all=True, append_images=[Image.new("RGB", (64, 32))])
    assert Image.open(image).n_frames == 2  # type: ignore[attr-defined]
    assert np.abs(read(data)[0][0].astype(int) - EIGHT).mean() < 2


@pytest.mark.parametrize("suffix", ["webp", "png"])
def test_an_animation_is_refused(suffix: str, tmp_path: Path) -> None:
    data, image, _ = framed(tmp_path, f"a.{suffix}")
    Image.fromarray(EIGHT).convert("RGB").save(image, save_all=True, append_images=[Image.new("RGB", (64, 32))])
    assert refusal(data) == f"{image}: holds 2 pages or frames; a picture is one"


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK"])
def test_other_modes_are_read_as_pillow_converts_them(mode: str, tmp_path: Path) -> None:
    data, image, _ = framed(tmp_path, "a.tif" if mode == "CMYK" else "a.png")
    Image.fromarray((RGB >> 8).astype(np.uint8)).convert(mode).save(image)
    np.testing.assert_array_equal(read(data)[0], np.asarray(Image.open(image).convert("RGB")).transpose(2, 0, 1))


TURNED = [("jpg", {}), ("jpg", {"progressive": True}), ("png", {}), ("tif", {}), ("webp", {"lossless": True})]


@pytest.mark.parametrize(("suffix", "options"), TURNED)
@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_turns_an_image_as_viewers_do(orientation: int, suffix: str, options: dict, tmp_path: Path) -> None:
    data, image, mask = framed(tmp_path, f"a.{suffix}")
    data = data.model_copy(update={"size": (64, 64)})
    upright = np.zeros((64, 64, 3), dtype=np.uint8)
    upright[:32, :48] = 255
    png(mask, np.where(upright[..., 0], 10, 200))
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # what undoes it, of Image.Transpose
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(upright).transpose(Image.Transpose(back)).save(image, exif=exif, **options)
    image_3HW, label_HW = read(data)
    assert np.abs(image_3HW.astype(int) - upright.transpose(2, 0, 1)).mean() < 2
    np.testing.assert_array_equal(label_HW == 0, upright[..., 0] == 255)
    (note,) = data_notes(data)
    assert note == f"1 of 2 images: turned upright, as their EXIF orientation says; the first is {image}"


def test_a_mask_of_the_image_before_it_was_turned_names_exif(tmp_path: Path) -> None:
    data, image, mask = framed(tmp_path, "a.jpg")
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(EIGHT).save(image, exif=exif)
    turned = "a.jpg has 32x64 once turned by its EXIF orientation 6"
    assert refusal(data) == f"{mask}: 64x32 pixels, but its image {turned}"


def test_broken_exif_is_none(tmp_path: Path) -> None:
    data, image, _ = framed(tmp_path, "a.jpg")
    for exif in (b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\xff\x01\x12"):
        Image.fromarray(EIGHT).save(image, exif=exif)
        assert np.abs(read(data)[0][0].astype(int) - EIGHT).mean() < 2


def test_the_fingerprint_knows_what_is_read_otherwise(tmp_path: Path, cache: Path) -> None:
    """What earlier versions cached of such files is not believed."""
    data, image, _ = framed(tmp_path, "a.jpg")
    marks = set()
    for orientation in (1, 3, 6):
        exif = Image.Exif()
        exif[0x112] = orientation
        Image.fromarray(EIGHT).save(image, exif=exif)
        marks.add((image.stat().st_size, fingerprint(data, cache)))
    assert len({size for size, _ in marks}) == 1
    assert len(marks) == 3


def test_large_images_are_a_setting_and_pillow_warns_of_nothing(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    data, image, mask = framed(tmp_path)
    for path in (image, mask):
        Image.new("L", (14_000, 13_000), 10).save(path)
    expected = "14000x13000 pixels are more than data.max_megapixels: 179 allows"
    assert refusal(data) == f"{image}: {expected}"
    _, label_HW = read(data.model_copy(update={"max_megapixels": 182}))
    assert (label_HW == 0).sum() == 32 * 34
    assert not recwarn.list
    assert "max_megapixels" not in data.model_dump(), "the usual limit is no part of a trial's key"


FEW_BITS: dict[str, Callable[[Path], None]] = {
    "2 bits": lambda path: raw_png(path, IDS, 2, 0),
    "4 bits": lambda path: raw_png(path, IDS, 4, 0),
    "16 bits": lambda path: raw_png(path, IDS.astype(np.uint16), 16, 0),
    "grey with alpha": lambda path: Image.fromarray(IDS).convert("LA").save(path),
    "a grey palette": lambda path: Image.fromarray(IDS).convert("P").save(path),
}


@pytest.mark.parametrize("kind", FEW_BITS)
@pytest.mark.parametrize("classes", [BY_ID, BY_COLOUR])
def test_grey_masks_of_any_depth_hold_ids(kind: str, classes: str, tmp_path: Path) -> None:
    data, image, mask = framed(tmp_path, classes=classes)
    Image.fromarray(EIGHT).save(image)
    FEW_BITS[kind](mask)
    np.testing.assert_array_equal(read(data)[1], IDS)


@pytest.mark.parametrize(
    ("suffix", "array"), [("tif", IDS.astype(np.int32)), ("tif", IDS.astype(np.uint16)), ("bmp", IDS)]
)
def test_masks_of_other_types_hold_ids(suffix: str, array: np.ndarray, tmp_path: Path) -> None:
    data, image, mask = framed(tmp_path, classes=f'{BY_ID}\nmask: "{{name}}.{suffix}"')
    Image.fromarray(EIGHT).save(image)
    Image.fromarray(array).save(mask.with_suffix(f".{suffix}"))
    np.testing.assert_array_equal(read(data)[1], IDS)


def test_masks_of_one_bit_hold_0_and_1(tmp_path: Path) -> None:
    data, image, mask = framed(tmp_path, classes=BY_ID)
    Image.fromarray(EIGHT).save(image)
    Image.fromarray(IDS > 1).save(mask)
    assert Image.open(mask).mode == "1"
    np.testing.assert_array_equal(read(data)[1], IDS > 1)


def test_masks_that_hold_no_ids_are_refused(tmp_path: Path) -> None:
    data, image, mask = framed(tmp_path, classes=BY_ID)
    Image.fromarray(EIGHT).save(image)
    raw_png(mask, IDS.astype(np.uint16) + 300, 16, 0)
    assert "is neither a class nor ignored" in refusal(data)
    Image.fromarray(IDS.astype(np.float32)).save(mask, format="TIFF")
    assert refusal(data) == f"{mask}: mode F; a label holds one class id per pixel (mode L or P)"
    Image.new("RGBA", (64, 32)).save(mask)
    assert refusal(data).startswith(f"{mask}: mode RGBA, transparent in places; ")


def test_palettes_are_read_by_colour_where_every_class_has_one(tmp_path: Path, cache: Path) -> None:
    data, image, mask = framed(tmp_path, classes=BY_COLOUR)
    Image.fromarray(EIGHT).save(image)
    for order in ([0, 1, 2], [2, 0, 1]):
        indexed = Image.fromarray(np.argsort(order).astype(np.uint8)[IDS])
        indexed.putpalette(COLOURS[order].ravel().tolist())
        indexed.save(mask)
        np.testing.assert_array_equal(read(data)[1], IDS)
    Image.fromarray(COLOURS[IDS]).convert("P", palette=Image.Palette.ADAPTIVE).save(mask)
    np.testing.assert_array_equal(read(data)[1], IDS)
    first, path = fingerprint(data, cache), Path(data.root) / "classes.yaml"
    path.write_text(BY_COLOUR.replace("[9, 9, 9]", "[8, 8, 8]"))
    assert fingerprint(data, cache) != first, "colours decide what such a file holds"
    foreign = Image.fromarray(IDS)
    foreign.putpalette([7, 8, 9] * 3)
    foreign.save(mask)
    assert refusal(data).startswith(f"{mask}: index 0 has colour (7, 8, 9) in the file's palette, which is neither")


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_masks_in_colour_are_read_by_colour(mode: str, tmp_path: Path) -> None:
    data, image, mask = framed(tmp_path, classes=BY_COLOUR)
    Image.fromarray(EIGHT).save(image)
    colours_HW3 = COLOURS[IDS]
    colours_HW3[0, :5] = 9
    Image.fromarray(colours_HW3).convert(mode).save(mask)
    expected_HW = IDS.copy()
    expected_HW[0, :5] = 255
    np.testing.assert_array_equal(read(data)[1], expected_HW)
    colours_HW3[0, :3] = 1, 2, 3
    Image.fromarray(colours_HW3).convert(mode).save(mask)
    assert refusal(data) == f"{mask}: colour (1, 2, 3) (3 pixels) is neither a class's nor ignored"
    (Path(data.root) / "classes.yaml").write_text(BY_ID)
    assert refusal(data).endswith("(mode L or P), or the colours of classes.yaml, one of its own for every class")


def test_voc_masks_in_rgb_are_read_by_their_palette(tmp_path: Path) -> None:
    voc = voc_tree(tmp_path)
    pair = pairs(voc, "train")[0]
    expected = Decoder.of(voc).decode(pair)[1]
    Image.open(pair.label).convert("RGB").save(pair.label)
    np.testing.assert_array_equal(Decoder.of(voc).decode(pair)[1], expected)


def test_palettes_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    data, image, mask = framed(tmp_path, classes=BY_ID)
    for name, order in (("a", [0, 1, 2]), ("b", [1, 0, 2])):
        Image.fromarray(EIGHT).save(image.with_stem(name))
        indexed = Image.fromarray(IDS)
        indexed.putpalette(COLOURS[order].ravel().tolist())
        indexed.save(mask.with_stem(name))
    png(Path(data.root) / "masks/val/v.png", np.zeros((32, 64)))
    with pytest.raises(DataError) as caught:
        data_notes(data)
    other = "index 0 has colour (0, 255, 0) in the file's palette, but (255, 0, 0) in that of"
    assert str(caught.value).startswith(f"{mask.with_stem('b')}: {other} {mask}; save labels in mode L, or ")


def test_a_palette_that_contradicts_the_one_colour_given_is_refused(tmp_path: Path) -> None:
    data, image, mask = framed(tmp_path, classes=BY_ID.replace("id: 1", "id: 1, colour: [1, 1, 2]"))
    Image.fromarray(EIGHT).save(image)
    indexed = Image.fromarray(IDS)
    indexed.putpalette(COLOURS.ravel().tolist())
    indexed.save(mask)
    assert refusal(data) == f"{mask}: index 1 has colour (0, 255, 0) in the file's palette, but 'b' (1, 1, 2)"


@pytest.mark.parametrize("which", ["image", "mask"])
def test_a_png_whose_checksum_is_wrong_is_refused(which: str, tmp_path: Path) -> None:
    data, image, mask = framed(tmp_path)
    png(image, np.tile([10, 200], (32, 32)))
    png(mask, np.tile([0, 1], (32, 32)))
    path = image if which == "image" else mask
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 6] ^= 4
    path.write_bytes(content)
    assert refusal(data).startswith(f"{path}: cannot be decoded (broken PNG file")


@pytest.mark.parametrize("quality", [50, 100])
def test_a_mask_that_was_a_jpeg_is_refused(quality: int, tmp_path: Path) -> None:
    data, image, mask = framed(tmp_path)
    png(image, np.tile([10, 200], (32, 32)))
    Image.fromarray(IDS).save(mask, format="JPEG", quality=quality)
    assert refusal(data) == f"{mask}: JPEG changes the values of pixels, which are ids; save labels as PNG"


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(("shift", "said"), [(4, "12 bits: they come out dark"), (8, "8 bits: they come out black")])
def test_few_bits_in_16_bit_colours_are_told(kind: str, shift: int, said: str, tmp_path: Path) -> None:
    data, image, _ = framed(tmp_path, "a.tif" if kind == "TIFF" else "a.png")
    raw_tiff(image, RGB >> shift, photometric=2) if kind == "TIFF" else raw_png(image, RGB >> shift, 16, 2)
    assert f"no value above {said}" in data_notes(data)[0]


def test_8_bits_in_16_bit_grey_are_told(tmp_path: Path) -> None:
    data, image, _ = framed(tmp_path)
    raw_png(image, RAMP >> 8, 16, 0)
    assert "no value above 8 bits: they come out black (save them with 8 bits)" in data_notes(data)[0]


def test_a_larger_second_page_is_no_preview(tmp_path: Path) -> None:
    data, image, _ = framed(tmp_path, "a.tif")
    page = Image.fromarray(EIGHT)
    page.reduce(2).save(image, save_all=True, append_images=[page])
    assert refusal(data) == f"{image}: holds 2 pages or frames; a picture is one"


@pytest.mark.parametrize("which", ["image", "mask"])
def test_a_deflated_tiff_whose_checksum_is_wrong_is_refused(which: str, tmp_path: Path) -> None:
    data, image, mask = framed(tmp_path, "a.tif")
    (Path(data.root) / "classes.yaml").write_text(f'{CLASSES_YAML}mask: "{{name}}.tif"\n')
    mask.unlink()
    for path in (image, mask := mask.with_suffix(".tif")):
        Image.fromarray(np.full((32, 64), 10, dtype=np.uint8)).save(path, compression="tiff_adobe_deflate")
    assert read(data)[1].max() == 0
    path = image if which == "image" else mask
    begin = Image.open(path).tag_v2[273][0]  # type: ignore[attr-defined]
    content = bytearray(path.read_bytes())
    content[begin + 3] ^= 1
    path.write_bytes(content)
    assert refusal(data).startswith(f"{path}: cannot be decoded (Error -3 while decompressing data: ")


LOSSY: dict[str, tuple[str, Callable[[Image.Image, Path], None]]] = {
    "JPEG in TIFF": ("JPEG", lambda ids, path: ids.save(path, format="TIFF", compression="jpeg", quality=100)),
    "JPEG 2000": ("JPEG 2000", lambda ids, path: ids.save(path, format="JPEG2000", irreversible=True)),
    "WebP": ("lossy WebP", lambda ids, path: ids.convert("RGB").save(path, format="WEBP", quality=100)),
    "several JPEGs": ("JPEG", lambda ids, path: ids.save(path, "MPO", save_all=True, append_images=[ids])),
}


@pytest.mark.parametrize("kind", LOSSY)
def test_a_mask_that_was_compressed_with_losses_is_refused(kind: str, tmp_path: Path) -> None:
    data, image, mask = framed(tmp_path)
    png(image, np.tile([10, 200], (32, 32)))
    name, save = LOSSY[kind]
    save(Image.fromarray(IDS), mask)
    assert refusal(data) == f"{mask}: {name} changes the values of pixels, which are ids; save labels as PNG"


def test_a_mask_in_lossless_webp_is_read(tmp_path: Path) -> None:
    data, image, mask = framed(tmp_path, classes=BY_COLOUR)
    Image.fromarray(EIGHT).save(image)
    Image.fromarray(COLOURS[IDS]).save(mask, format="WEBP", lossless=True)
    np.testing.assert_array_equal(read(data)[1], IDS)


@pytest.mark.parametrize("array", [IDS, IDS.astype(np.uint16)])
def test_a_mask_that_begins_at_white_holds_its_values_and_is_told(array: np.ndarray, tmp_path: Path) -> None:
    data, image, mask = framed(tmp_path, classes=f'{BY_ID}\nmask: "{{name}}.tif"')
    Image.fromarray(EIGHT).save(image)
    raw_tiff(mask.with_suffix(".tif"), array, photometric=0)
    png(Path(data.root) / "masks/val/v.tif", np.zeros((32, 64)))
    np.testing.assert_array_equal(read(data)[1], IDS)
    (note,) = data_notes(data)
    white = "their masks are TIFFs whose values begin at white (ids are values as they stand, not as viewers show them)"
    assert note == f"1 of 2 images: {white}; the first is {image}"


def test_a_palette_of_ids_in_other_places_is_refused(tmp_path: Path) -> None:
    """As ``convert("P", palette=ADAPTIVE)`` leaves a grey mask: the greys are the ids, not the indices."""
    data, image, mask = framed(tmp_path, classes=BY_ID)
    Image.fromarray(EIGHT).save(image)
    indexed = Image.fromarray(2 - IDS)
    indexed.putpalette([2, 2, 2, 1, 1, 1, 0, 0, 0])
    indexed.save(mask)
    place = "index 0 has colour (2, 2, 2) in the file's palette"
    assert refusal(data) == f"{mask}: {place}: the id may be 0 or 2; save labels in mode L"
    indexed = Image.fromarray(IDS)
    indexed.putpalette([0, 0, 0, 127, 127, 127, 255, 255, 255])  # greys for viewers
    indexed.save(mask)
    np.testing.assert_array_equal(read(data)[1], IDS)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "it is empty"),
        (b"<html>", "it is no picture of a kind that Pillow knows"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n",
            "it stands for a file that git lfs pull fetches",
        ),
    ],
)
def test_what_is_no_picture_says_what_it_is(content: bytes, what: str, tmp_path: Path) -> None:
    data, image, _ = framed(tmp_path)
    image.write_bytes(content)
    assert refusal(data) == f"{image}: cannot be decoded ({what})"
