"""Images of one's own: which ones, and how they come into the form of a network's frames."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainable.data.config import FolderData, ShapesData, read_data
from trainable.data.decode import Decoder
from trainable.data.errors import DataError
from trainable.data.layout import Pair
from trainable.data.loose_images import fitted, fitted_picture, listed

SHAPES = ShapesData(name="shapes", size=(64, 96))


def test_folders_are_their_images_in_order(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", "deep/c.png", ".hidden.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    names = [Path(str(path)).name for path in listed(tmp_path)]
    assert names == ["a.jpg", "b.png", "c.png"]
    assert [str(path) for path in listed([tmp_path / "b.png", tmp_path / "deep"])] == [
        str(tmp_path / "b.png"), str(tmp_path / "deep" / "c.png")
    ]  # fmt: skip
    assert len(listed(np.zeros((3, 4, 5, 3), dtype=np.uint8))) == 3
    assert len(listed(np.zeros((4, 5, 3), dtype=np.uint8))) == 1


def test_a_frame_is_that_of_the_data_set_s_decoder(tmp_path: Path) -> None:
    """For frames that are padded, and for those of a data set of one shape."""
    rng = np.random.default_rng(0)
    (tmp_path / "classes.yaml").write_text("classes: [{name: a, id: 0}, {name: b, id: 1}]\n")
    image, mask = tmp_path / "x.png", tmp_path / "m.png"
    Image.fromarray(rng.integers(0, 255, (50, 70, 3), dtype=np.uint8)).save(image)
    Image.fromarray(np.zeros((50, 70), dtype=np.uint8)).save(mask)
    padded = FolderData(name="folder", root=str(tmp_path), size=(64, 96))
    stretched = read_data({"name": "camvid", "root": str(tmp_path), "size": [64, 96]})
    for data, inner in ((padded, (64, 90)), (stretched, (64, 96))):
        assert not isinstance(data, ShapesData)
        picture = fitted_picture(image, data)
        assert np.array_equal(picture.image_3HW, Decoder.of(data).decode(Pair(image, mask))[0])
        assert picture.inner == inner
        assert picture.size == (50, 70)


def test_pixels_of_every_form_that_means_a_picture() -> None:
    gray = np.arange(64 * 96, dtype=np.uint16).reshape(64, 96) * 10
    forms = [
        (gray >> 8).astype(np.uint8),
        gray,
        np.stack([gray] * 3, axis=-1),
        np.dstack([np.stack([gray] * 3, axis=-1), np.full_like(gray, 65535)]),
        Image.fromarray((gray >> 8).astype(np.uint8)),
    ]
    frames = [picture.image_3HW for picture in fitted(forms, SHAPES)]
    for frame in frames[1:]:
        assert np.array_equal(frame, frames[0])


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (np.zeros((4, 4, 2), np.uint8), "an array of 4 x 4 x 2"),
        (np.zeros((3, 8, 9), np.uint8), r"image.transpose\(1, 2, 0\) moves the channels"),
        (np.zeros((4, 4), np.int64), "values of type int64"),
        (np.zeros((4, 4, 3), np.float32), r"round\(255 \* values\)"),
        (np.zeros(4, np.uint8), "an array of 4;"),
    ],
)
def test_pixels_without_a_meaning_are_refused(pixels: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=f"^image: .*{said}"):
        fitted_picture(pixels, SHAPES)
