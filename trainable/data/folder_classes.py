"""``classes.yaml`` of a folder data set: names, ids in the masks, colours, ignored ids. Imports no torch.

.. code-block:: yaml

    classes:                                          # train ids follow this order
      - {name: road, id: 7, colour: [128, 64, 128]}   # the colour, for pictures, may be left out
      - {name: car, id: 26}
    ignore: [0, 255]                                  # ids that are no class; default [255]
    ignore_colours: [[0, 0, 0]]                       # colours that are no class, in masks that are stored in colour
    mask: "{name}_mask.png"                           # name of the mask of NAME.jpg; default "{name}.png"

All other ids are errors: a mask that holds one was made for other classes. Masks in RGB or with a palette are read by
colour where every class has one.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from trainable.configfile.environment import hide_values
from trainable.configfile.messages import validate
from trainable.configfile.mistakes import ConfigError, Mistake, show_path
from trainable.configfile.node import Key, nearest
from trainable.configfile.reading import read_mapping, types_of
from trainable.data.errors import DataError
from trainable.data.files import check_file
from trainable.section import Section

Channel = Annotated[int, Field(ge=0, le=255)]
Colour = tuple[Channel, Channel, Channel]
LabelId = Annotated[int, Field(ge=0, le=255)]

FILE, YML = "classes.yaml", "classes.yml"
MAX_CLASSES = 255
"""Train ids are bytes, and 255 is kept for ignored pixels."""


def _class_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+( [A-Za-z0-9_.-]+)*", name):
        raise ValueError(f"'{name}' is no class name: letters, digits, _ . - and single spaces between them")
    return name


def _mask_pattern(pattern: str) -> str:
    if pattern.count("{name}") != 1 or "/" in pattern:
        raise ValueError(f"'{pattern}' must hold {{name}} once, and no /; for a_mask.png of a.jpg {{name}}_mask.png")
    return pattern


class ClassEntry(Section):
    """One class."""

    name: Annotated[str, AfterValidator(_class_name)]
    """Part of a metric's name."""
    id: LabelId
    """Value of its pixels in the masks."""
    colour: Colour | None = None


class ClassesFile(Section):
    """The content of ``classes.yaml``."""

    classes: Annotated[tuple[ClassEntry, ...], Field(min_length=1, max_length=MAX_CLASSES)]
    ignore: tuple[LabelId, ...] = (255,)
    ignore_colours: tuple[Colour, ...] = ()
    mask: Annotated[str, AfterValidator(_mask_pattern)] = "{name}.png"
    """Name of an image's mask."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(entry.name for entry in self.classes)

    @property
    def ids(self) -> tuple[int, ...]:
        """Ids of the classes in the masks."""
        return tuple(entry.id for entry in self.classes)

    @property
    def mask_colours(self) -> tuple[Colour | None, ...]:
        """Colours of the classes in masks, as far as the file gives them."""
        return tuple(entry.colour for entry in self.classes)

    @property
    def colours(self) -> tuple[Colour, ...]:
        """Colours of the classes, VOC's where the file gives none."""
        return tuple(entry.colour or voc_colour(index + 1) for index, entry in enumerate(self.classes))


def read_classes(root: Path) -> ClassesFile:
    """Read ``classes.yaml`` in ``root``.

    Raises:
        DataError: it is missing, or all its mistakes, one a line.
    """
    path = root / FILE
    try:
        check_file(path, "a text")
        stat = path.stat()
        return _read(path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        other = f"; there is {YML}: rename it" if (root / YML).is_file() else ""
        message = f"{path}: cannot be read ({error.strerror}); it names the classes{other}"
        raise DataError(message, "data.root") from error
    except ConfigError as error:
        raise DataError([str(mistake) for mistake in error.mistakes], "data.root") from error


@lru_cache(maxsize=8)
def _read(path: Path, _mtime_ns: int, _size: int) -> ClassesFile:
    """Read it; remembered for as long as the file does not change: a study asks many times."""
    mistakes: list[Mistake] = []
    root = read_mapping(path, FILE, types_of(ClassesFile), mistakes)
    file = validate(ClassesFile, root, (), mistakes)
    for keys, message in _repeated(file) if file is not None else ():
        mistakes.append(Mistake(nearest(root, keys).place, show_path(keys), message))
    if file is None or mistakes:
        raise ConfigError(hide_values(mistakes, root))
    return file


def _repeated(file: ClassesFile) -> Iterator[tuple[tuple[Key, ...], str]]:
    """Names and ids that stand there twice, each with its path."""
    seen: set[str | int] = set()
    entries: list[tuple[tuple[Key, ...], str | int]] = [(("ignore", i), label) for i, label in enumerate(file.ignore)]
    for i, entry in enumerate(file.classes):
        entries += [(("classes", i, "name"), entry.name), (("classes", i, "id"), entry.id)]
    for keys, value in entries:
        if value in seen:
            yield keys, f"{'name' if isinstance(value, str) else 'id'} {value} stands there twice{_advice(file, value)}"
        seen.add(value)


def _advice(file: ClassesFile, value: str | int) -> str:
    """What to write where an id is a class and ignored; 255 is ignored without a word in the file."""
    if value not in file.ignore or value not in file.ids:
        return ""
    default = " by default" if "ignore" not in file.model_fields_set else ""
    rest = [label_id for label_id in file.ignore if label_id != value]
    return f": it is a class, and ignored{default}; write `ignore: {rest}` to keep the class"


def voc_colour(index: int) -> Colour:
    """Colour ``index`` of Pascal VOC's palette: the bits of the index, dealt to the three channels in turn."""
    channels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
    return channels[0], channels[1], channels[2]
