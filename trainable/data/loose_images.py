"""Images of the user's own, without labels, brought into the form that a network was trained on. Imports no torch.

Files are read as those of a data set are: EXIF turns them upright, 16 bits a channel keep the upper eight, what has no
range from black to white is refused. Arrays and Pillow's pictures are read by the same rules.
Shapes: H W the configured size, h w the picture as it came.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from trainable.data.config import MAX_MEGAPIXELS, DataConfig, OwnData, ShapesData, Size
from trainable.data.decode import Bytes, fitted_image, keeps_aspect
from trainable.data.errors import DataError
from trainable.data.files import IMAGE_SUFFIXES, files_below, refusals
from trainable.data.raster import Raster, open_raster, rgb

Pixels: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""uint8 or uint16, [h,w,3], [h,w,4] or [h,w]."""
LooseImage: TypeAlias = str | Path | Image.Image | Pixels
"""A file, a folder of files, a picture of Pillow's, or pixels."""


@dataclass(frozen=True)
class FittedPicture:
    """A picture beside the frame that the network sees of it."""

    name: str
    """Its path, or which of the images it is."""
    image_3HW: Bytes = field(repr=False)
    inner: Size
    """(height, width) of the picture in the frame, from the upper left corner; the rest is padding."""
    upright: Image.Image = field(repr=False)
    """The picture itself: RGB, at its own size."""

    @property
    def size(self) -> Size:
        """(height, width) of the picture itself."""
        return self.upright.height, self.upright.width


def listed(images: Iterable[LooseImage] | LooseImage) -> list[LooseImage]:
    """The images one by one, each folder as its files in the order of their paths, an array [N,h,w,3] as N images.

    Raises:
        DataError: no such file, a folder without an image.
    """
    return [one for image in _one_by_one(images) for one in _files(image)]


def _one_by_one(images: Iterable[LooseImage] | LooseImage) -> Iterable[LooseImage]:
    match images:
        case np.ndarray() if images.ndim == 4:
            return list(images)
        case str() | Path() | Image.Image() | np.ndarray():
            return [images]
        case Iterable():
            return images
        case _:  # whatever it is, it is told below
            return [images]


def _files(image: LooseImage) -> Sequence[LooseImage]:
    if not isinstance(image, str | Path | Image.Image | np.ndarray):
        kind = type(image).__name__
        raise DataError(f"{kind} is no image: give a file, a folder, a picture of Pillow's or an array of numpy's")
    if not isinstance(image, str | Path):
        return [image]
    path = Path(image).expanduser()
    if not path.is_dir():
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        return [path]
    with refusals():
        files = files_below(path).images
    if not files:
        raise DataError(f"{path}: holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return list(files)


def fitted(images: Sequence[LooseImage], data: DataConfig) -> Iterator[FittedPicture]:
    """Yield each image as a network sees it that was trained on a data section; raises as ``fitted_picture``."""
    for number, image in enumerate(images):
        yield fitted_picture(image, data, f"image {number}")


def fitted_picture(image: LooseImage, data: DataConfig, name: str = "image") -> FittedPicture:
    """One image as a network sees it; ``name`` is that of one without a path.

    Raises:
        DataError: no picture, or one of a kind that has no meaning in RGB; the message names it.
    """
    name = str(image) if isinstance(image, str | Path) else name
    most = MAX_MEGAPIXELS if isinstance(data, ShapesData | OwnData) else data.max_megapixels
    upright = rgb(Path(name), _raster(image, name, most))[0]
    if min(upright.size) < 1:
        raise DataError(f"{name}: has no pixels")
    image_3HW, inner = fitted_image(upright, data.size, keep_aspect=keeps_aspect(data))
    return FittedPicture(name, image_3HW, inner, upright)


def _raster(image: LooseImage, name: str, max_megapixels: int) -> Raster:
    if isinstance(image, str | Path):
        return open_raster(Path(image).expanduser(), max_megapixels)
    if isinstance(image, Image.Image):
        return Raster(ImageOps.exif_transpose(image), image.mode, 1)
    return _of_pixels(image, name)


def _of_pixels(pixels: Pixels, name: str) -> Raster:
    wanted = "height x width x 3 of uint8 (0 to 255, RGB)"
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        shape = " x ".join(map(str, pixels.shape))
        turned = "; image.transpose(1, 2, 0) moves the channels to the end" if pixels.shape[:1] == (3,) else ""
        raise DataError(f"{name}: an array of {shape}; an image is {wanted}{turned}")
    if pixels.dtype not in (np.uint8, np.uint16):
        advice = "; round(255 * values) where they go from 0 to 1" if np.issubdtype(pixels.dtype, np.floating) else ""
        raise DataError(f"{name}: values of type {pixels.dtype}; an image is {wanted}{advice}")
    if pixels.size == 0:
        raise DataError(f"{name}: has no pixels")
    deep = pixels.dtype == np.uint16
    array = np.ascontiguousarray((pixels >> 8).astype(np.uint8) if deep else pixels)
    picture = Image.fromarray(array)
    return Raster(picture, picture.mode, 1)
