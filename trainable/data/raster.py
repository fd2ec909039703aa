"""Open a picture file as it is meant: one page, upright, in values whose range is known. Imports no torch.

Pillow decides what it can read; what it reads in a way that is easily taken for another is told by ``remarks`` or
refused. Sixteen bits a channel keep their upper eight, as Pillow does it for RGB itself.
Limits: colour profiles, transparency and gamma do not count. libtiff itself writes to stderr what it finds
broken, above our line.
"""

import logging
import struct
import warnings
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from trainable.data.errors import DataError

Bytes = npt.NDArray[np.uint8]

Image.MAX_IMAGE_PIXELS = None  # the limit is the data section's, and is told in one line
logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it logs of broken files is told in one line, too
TURNED = "turned upright, as their EXIF orientation says"
DEEP = "16 bits a channel, of which the upper 8 are kept"
DARK = "16 bits a channel, but no value above 12 bits: they come out dark (multiply them by 16)"
BLACK = "16 bits a channel, but no value above 8 bits: they come out black (save them with 8 bits)"
LOSSY = {"JPEG": "JPEG", "MPO": "JPEG", "JPEG2000": "JPEG 2000", "AVIF": "AVIF"}
LOSSY_TIFF = {"jpeg": "JPEG", "tiff_jpeg": "JPEG", "webp": "WebP"}
"""By Pillow's names of formats, and of compressions of TIFF."""
DEFLATED = (8, 32946)
"""TIFF's Compression by zlib."""
SIGNED = 2
"""TIFF's SampleFormat of signed integers."""
POINTER = b"version https://git-lfs"
INVERTED = " inverted"
"""Of TIFF's 16-bit values that begin at white; Pillow turns 8-bit ones round itself."""


@dataclass(frozen=True)
class Raster:
    """A picture, upright."""

    image: Image.Image
    coding: str
    """How the file holds the values of a pixel, in Pillow's words: ``RGB``, ``L;4``, ``I;16B``."""
    orientation: int
    """EXIF's, before it was turned upright."""
    lossy: str = ""
    """The compression, where it is of a kind that changes the values of pixels."""

    @property
    def from_white(self) -> bool:
        """Whether the file's values begin at white (TIFF), which Pillow turns round but for 16 bits."""
        return ";I" in self.coding or self.coding.endswith(INVERTED)

    @property
    def size(self) -> str:
        """Width and height, and whether EXIF has swapped them."""
        turned = f" once turned by its EXIF orientation {self.orientation}" if self.orientation > 1 else ""
        return f"{self.image.width}x{self.image.height}{turned}"


def open_raster(path: Path, max_megapixels: int) -> Raster:
    """Read a file.

    Raises:
        DataError: no picture, several pages, more pixels than ``max_megapixels`` millions.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:  # Pillow warns of EXIF it cannot read
            if image.format == "PNG":  # Pillow decodes broken ones into other pixels
                _verify(path)
            _check(image, max_megapixels)
            coding, orientation, lossy = _coding(image), _orientation(image), _lossy(image)
            _verify_strips(image)
            image.load()
            if orientation > 1:
                ImageOps.exif_transpose(image, in_place=True)  # does nothing to a TIFF: loading has turned it
            return Raster(image, coding, orientation, lossy)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # broken bytes lead Pillow to a SyntaxError, a zlib.error, a ValueError, ...
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        reason = _what_instead(path) if isinstance(error, UnidentifiedImageError) else reason
        raise DataError(f"{path}: cannot be decoded ({reason})") from error


def rgb(path: Path, raster: Raster) -> tuple[Image.Image, tuple[str, ...]]:
    """A picture in RGB, and what was done to it that one may want to know.

    Raises:
        DataError: numbers without a defined range.
    """
    image, remarks = raster.image, [TURNED] if raster.orientation > 1 else []
    if image.mode in ("I", "F") or raster.coding.endswith(" signed"):
        kind = f"values of type {raster.coding}"
        raise DataError(f"{path}: {kind} have no range from black to white; save unsigned 8 or 16 bits")
    if image.mode.startswith("I;16"):
        values = 65535 - np.asarray(image) if raster.coding.endswith(INVERTED) else np.asarray(image)
        bits = 12 if "12" in raster.coding else 16
        image = Image.fromarray((values >> (bits - 8)).astype(np.uint8))
        remarks.append(_depth(image) if bits == 16 else DEEP)
    elif ";16" in raster.coding and not raster.coding.startswith("BGR"):
        remarks.append(_depth(image))
    with warnings.catch_warnings(action="ignore"):  # Pillow warns of palettes with transparency
        return image.convert("RGB"), tuple(remarks)


def _depth(image: Image.Image) -> str:
    """What is said of 16-bit values, by the upper 8 bits of each."""
    brightest = int(np.asarray(image)[..., :3].max())
    return DEEP if brightest >= 1 << 4 else DARK if brightest > 0 else BLACK


def peculiarity(path: Path) -> str:
    """What makes a file read otherwise than as 8-bit values row by row; empty where nothing does. Reads its header."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            orientation = _known_orientation(image)
            deep = image.mode if image.mode.startswith(("I", "F")) else ""
            return f"{deep} {orientation if orientation > 1 else ''}".strip()
    except Exception:  # as in open_raster, which tells
        return ""


def orientation_of(file: BytesIO) -> int:
    """EXIF's orientation of a picture, by its header; 1 where there is none."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(file) as image:
            return _known_orientation(image)
    except Exception:  # as in open_raster, which tells
        return 1


def _known_orientation(image: Image.Image) -> int:
    lazy = image.format != "PNG" or image.info.keys() & {"exif", "xmp", "Raw profile type exif"}
    return _orientation(image) if lazy else 1  # else Pillow would decode it to look behind the pixels


def _what_instead(path: Path) -> str:
    """What a file is that is no picture."""
    with path.open("rb") as file:
        begin = file.read(len(POINTER))
    if begin == POINTER:
        return "it stands for a file that git lfs pull fetches"
    return "it is no picture of a kind that Pillow knows" if begin else "it is empty"


def _verify(path: Path) -> None:
    """Check the checksums of a file; an image that was verified can no longer be read."""
    with Image.open(path) as image:
        image.verify()


def _verify_strips(image: Image.Image) -> None:
    """Check the checksums of a deflated TIFF: libtiff stops reading before them."""
    if _tag(image, ExifTags.Base.Compression) not in DEFLATED or not isinstance(image, TiffImageFile):
        return
    with open(image.filename, "rb") as file:
        for offsets, counts in ((273, 279), (324, 325)):  # strips, tiles
            for offset, count in zip(image.tag_v2.get(offsets, ()), image.tag_v2.get(counts, ()), strict=True):
                file.seek(offset)
                zlib.decompress(file.read(count))


def _check(image: Image.Image, max_megapixels: int) -> None:
    if image.width * image.height > max_megapixels * 1e6:
        size = f"{image.width}x{image.height}"
        raise DataError(f"{size} pixels are more than data.max_megapixels: {max_megapixels} allows")
    if _tag(image, ExifTags.Base.PlanarConfiguration) == 2 and _tag(image, ExifTags.Base.BitsPerSample) == 16:
        raise DataError("16 bits a channel in one plane after the other cannot be decoded; save them interleaved")
    first, pages = image.size, 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # MPO: a phone's preview
    for page in range(1, pages):
        image.seek(page)
        if image.width >= first[0] or image.height >= first[1]:  # smaller ones are previews of the first
            raise DataError(f"holds {pages} pages or frames; a picture is one")
    if pages > 1:
        image.seek(0)


def _lossy(image: Image.Image) -> str:
    """The name of a compression that changes, or may change, the values of pixels; empty for all others."""
    if image.format == "TIFF":
        return LOSSY_TIFF.get(str(image.info.get("compression")), "")
    if image.format == "WEBP":
        with open(image.filename, "rb") as file:  # type: ignore[attr-defined]
            return "" if b"VP8L" in file.read(1 << 12) else "lossy WebP"
    return LOSSY.get(str(image.format), "")


def _coding(image: Image.Image) -> str:
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    arguments = tiles[0].args if tiles else image.mode
    coding = arguments[0] if isinstance(arguments, tuple) else str(arguments)
    signed = " signed" if _tag(image, ExifTags.Base.SampleFormat) == SIGNED else ""
    white_is_0 = _tag(image, ExifTags.Base.PhotometricInterpretation) == 0
    return f"{coding}{signed}{INVERTED if white_is_0 and coding.startswith('I;16') else ''}"


def _tag(image: Image.Image, tag: ExifTags.Base) -> object:
    """The first value of a tag that only a TIFF has."""
    value: object = image.tag_v2.get(tag) if isinstance(image, TiffImageFile) else None
    return value[0] if isinstance(value, tuple) and value else value


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 where EXIF is broken or has none."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, LookupError, TypeError, AttributeError, OSError, struct.error):
        return 1
    return orientation if orientation in range(1, 9) else 1
