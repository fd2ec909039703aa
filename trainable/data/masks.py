"""Read a label file: which pixels are which train id, however the file stores them. Imports no torch.

Files in grey or with one bit hold ids as they stand. A palette's colours say what its indices mean: where every class
has a colour, files with a palette and RGB files are read by colour; else indices are ids, and colours have to agree
with the classes' and from file to file. A grey palette says nothing.
Shapes: h w a file's own size.
"""

import warnings
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainable.data.classes import IGNORE_INDEX, ClassMap
from trainable.data.errors import DataError
from trainable.data.raster import Bytes, Raster, open_raster

Ints = npt.NDArray[np.int64]
Palette = dict[int, tuple[int, ...]]
"""Colours of indices."""

ONE_ID = "a label holds one class id per pixel (mode L or P)"
STEPS = {"L;2": 85, "L;4": 17}
"""Pillow stretches grey values of fewer bits to 0..255; ids are those before."""


@dataclass(frozen=True)
class Mask:
    """A label file, decoded."""

    raster: Raster
    indices: Image.Image
    """8 bits a pixel."""
    table: Bytes
    """[256], train id of each index."""
    palette: Palette
    """Colours of the classes' indices where they are read as ids: every file must have the same."""


@dataclass(frozen=True)
class MaskReader:
    """How the label files of a data set are read."""

    classes: ClassMap
    table: Bytes
    """[256], from ids to train ids; ignored and unknown ids to ``IGNORE_INDEX``."""
    known: npt.NDArray[np.bool_]
    """[256], the ids that may occur."""
    by_colour: dict[int, int]
    """Train id of each colour, as 0xRRGGBB; empty where some class has none of its own."""

    @classmethod
    def of(cls, classes: ClassMap) -> Self:
        """The reader of a class map."""
        table = np.full(256, IGNORE_INDEX, dtype=np.uint8)
        table[list(classes.ids)] = np.arange(len(classes.ids))
        known = np.zeros(256, dtype=np.bool_)
        known[[*classes.ids, *classes.ignored]] = True
        colours = [colour for colour in classes.mask_colours if colour is not None]
        by_colour = {_packed(colour): train_id for train_id, colour in enumerate(colours)}
        by_colour |= {_packed(colour): IGNORE_INDEX for colour in classes.ignored_colours}
        whole = len(by_colour) == len(classes.names) + len(classes.ignored_colours)
        return cls(classes, table, known, by_colour if whole else {})

    def read(self, path: Path, max_megapixels: int) -> Mask:
        """Decode a label file.

        Raises:
            DataError: a file that is no picture, or holds anything else than ids or colours of the classes.
        """
        raster = open_raster(path, max_megapixels)
        try:
            if raster.lossy:
                raise DataError(f"{raster.lossy} changes the values of pixels, which are ids; save labels as PNG")
            image = _opaque(raster.image)
            if image.mode == "RGB":
                return Mask(raster, self._by_colour(image), np.arange(256, dtype=np.uint8), {})
            indices = _indices(image, raster.coding)
            counts = np.array(indices.histogram())
            palette = _palette(image, counts) if image.mode == "P" else {}
            if palette and self.by_colour:
                return Mask(raster, indices, self._palette_table(palette), {})
            unknown = np.flatnonzero((counts > 0) & ~self.known)
            if len(unknown):
                raise _unknown(unknown[0], counts[unknown[0]])
            return Mask(raster, indices, self.table, self._agreed(palette))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    def differs(self, file: BytesIO) -> bool:
        """Whether a file is read by colour, and otherwise than by its indices; by its header.

        What is no picture does not: whoever decodes it tells.
        """
        with suppress(Exception), warnings.catch_warnings(action="ignore"), Image.open(file) as image:
            palette = _palette(image, None) if image.mode == "P" and self.by_colour else {}
            other = [self.by_colour.get(_packed(c), self.table[i]) != self.table[i] for i, c in palette.items()]
            return image.mode in ("RGB", "RGBA") or any(other)
        return False

    def _by_colour(self, image: Image.Image) -> Image.Image:
        """Train ids of an RGB image."""
        if not self.by_colour:
            hint = (
                ", or the colours of classes.yaml, one of its own for every class" if self.classes.mask_colours else ""
            )
            raise DataError(f"mode RGB; {ONE_ID}{hint}")
        packed_hw = np.asarray(image).astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)
        colours = np.array(sorted(self.by_colour), dtype=np.int32)
        nearest_hw = np.searchsorted(colours, packed_hw).clip(max=len(colours) - 1)
        strange = packed_hw[colours[nearest_hw] != packed_hw]
        if len(strange):
            colour = tuple(int(strange[0]) >> bits & 255 for bits in (16, 8, 0))
            count = (strange == strange[0]).sum()
            raise DataError(f"colour {colour} ({count} pixels) is neither a class's nor ignored")
        train_ids = np.array([self.by_colour[colour] for colour in colours.tolist()], dtype=np.uint8)
        return Image.fromarray(train_ids[nearest_hw])

    def _palette_table(self, palette: Palette) -> Bytes:
        """Train ids of the indices of a file, by their colours."""
        table = np.full(256, IGNORE_INDEX, dtype=np.uint8)
        for index, colour in palette.items():
            if _packed(colour) in self.by_colour:
                table[index] = self.by_colour[_packed(colour)]
            elif index not in self.classes.ignored:
                raise DataError(f"{_entry(index, colour)}, which is neither a class's nor ignored")
        return table

    def _agreed(self, palette: Palette) -> Palette:
        """Colours of the classes' indices; raises where a class has another one."""
        colours = dict(zip(self.classes.ids, self.classes.mask_colours, strict=False))
        for index, colour in palette.items():
            if colours.get(index) not in (None, colour):
                name = self.classes.names[self.classes.ids.index(index)]
                raise DataError(f"{_entry(index, colour)}, but '{name}' {colours[index]}")
        greys = {colour[0] for colour in palette.values() if len(set(colour)) == 1}
        if len(greys) == len(palette) > 0 and greys <= set(self.classes.ids):
            index, colour = next((index, colour) for index, colour in palette.items() if colour[0] != index)
            raise DataError(f"{_entry(index, colour)}: the id may be {index} or {colour[0]}; save labels in mode L")
        return {index: colour for index, colour in palette.items() if index in self.classes.ids}


def _packed(colour: tuple[int, ...]) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _entry(index: int, colour: tuple[int, ...]) -> str:
    return f"index {index} has colour {colour} in the file's palette"


def _unknown(label_id: int, pixels: int) -> DataError:
    return DataError(f"label id {label_id} ({pixels} pixels) is neither a class nor ignored")


def _opaque(image: Image.Image) -> Image.Image:
    """The image without its alpha channel, which must say nothing."""
    if image.mode not in ("LA", "RGBA"):
        return image
    if image.getextrema()[-1] != (255, 255):
        raise DataError(f"mode {image.mode}, transparent in places; {ONE_ID}")
    return image.convert(image.mode[:-1])


def _indices(image: Image.Image, coding: str) -> Image.Image:
    """The file's own values, 8 bits a pixel."""
    inverted = "I" in coding  # a TIFF that begins at white: Pillow turns it round, ids are as they stand
    if image.mode == "1":
        return Image.fromarray(np.asarray(image).astype(np.uint8) ^ inverted)
    if image.mode == "L" and coding != "L":
        values_hw = 255 - np.asarray(image) if inverted else np.asarray(image)
        return Image.fromarray(values_hw // STEPS.get(coding[:3], 1))
    if image.mode in ("L", "P"):
        return image
    if not image.mode.startswith("I"):
        raise DataError(f"mode {image.mode}; {ONE_ID}")
    values_hw = np.asarray(image)
    strange = values_hw[(values_hw < 0) | (values_hw > 255)]
    if len(strange):
        raise _unknown(strange[0], (strange == strange[0]).sum())
    return Image.fromarray(values_hw.astype(np.uint8))


def _palette(image: Image.Image, counts: Ints | None) -> Palette:
    """Colours of the indices that occur, of all without counts; none where they are but the indices as greys."""
    flat = image.getpalette() or []
    indices = range(len(flat) // 3) if counts is None else np.flatnonzero(counts).tolist()
    palette = {index: tuple(flat[3 * index : 3 * index + 3]) or (0, 0, 0) for index in indices}
    return {} if all(colour == (index, index, index) for index, colour in palette.items()) else palette
