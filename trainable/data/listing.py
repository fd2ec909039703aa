"""The frames of a split as a data set's folder lists them, and what of the folder they leave out. Imports no torch."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainable.configfile.mistakes import printable
from trainable.data.errors import DataError
from trainable.data.files import NAMED, Names, check_file, files_below, stored
from trainable.data.folder_classes import FILE as CLASSES_FILE


@dataclass(frozen=True)
class Pair:
    """Files of one frame."""

    image: Path
    label: Path


@dataclass(frozen=True)
class Listing:
    """What a data set's folder holds for one split."""

    pairs: tuple[Pair, ...]
    notes: tuple[str, ...] = ()
    """What a reader of the lists and names would ask about."""
    searched: tuple[tuple[Path, str, str], ...] = ()
    """Folders of which every file should belong to a frame: how its name ends, and what one that does not is."""

    def passed_over(self) -> tuple[str, ...]:
        """A line for every folder that holds more than the frames: how much, and names."""
        frames = {path for pair in self.pairs for path in (pair.image, pair.label)}
        lines = []
        for path, ending, what in self.searched:
            files = files_below(path)
            others = [other for other in files.paths if other.name.endswith(ending) and other not in frames]
            for paths, kind in ((others, what), (sorted(files.hidden), "hidden, and no frames")):
                lines += [f"{path}: {len(paths)} {kind}: {some(paths, path)}"] if paths else []
        return tuple(lines)


def some(paths: Sequence[Path], parent: Path) -> str:
    """Names of the first of some files, relative to a folder."""
    names = [printable(path.relative_to(parent) if path.is_relative_to(parent) else path.name) for path in paths]
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def complete(frames: Sequence[Pair], empty: str, pattern: str | None = None) -> tuple[Pair, ...]:
    """The frames, each with its label.

    Args:
        frames: What the folder or a list names.
        empty: What to say where that is nothing.
        pattern: The pattern of the names of masks that ``classes.yaml`` may change.

    Raises:
        DataError: no frame, an image without its label, links to nothing and pipes in place of pictures.
    """
    if not frames:
        raise DataError(empty, "data.root")
    if all(path.is_file() for pair in frames for path in (pair.image, pair.label)):
        return tuple(frames)
    known: Names = {}
    frames = [pair if pair.label.is_file() else Pair(pair.image, stored(pair.label, known)) for pair in frames]
    for path in (path for pair in frames for path in (pair.image, pair.label)):
        check_file(path, "a picture")
    missing = [pair for pair in frames if not pair.label.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(frames)} images have no label; the first is {missing[0].image.name}, "
            f"expected at {missing[0].label}{_near_miss(missing[0], pattern)}",
            "data.root",
        )
    return tuple(frames)


def _near_miss(pair: Pair, pattern: str | None) -> str:
    """What lies there instead, and the key of ``classes.yaml`` that names it."""
    if not pair.label.parent.is_dir():
        return ""
    stem = pair.image.stem
    names = [name for name in sorted(os.listdir(pair.label.parent)) if stem.casefold() in name.casefold()]
    names = sorted((name for name in names if not name.startswith(".")), key=len)
    if not names:
        return ""
    before, _, after = ("", stem, names[0][len(stem) :]) if names[0].startswith(stem) else names[0].rpartition(stem)
    wanted = f"{before}{{name}}{after}" if pattern is not None and stem in names[0] else ""
    return f"; there is {names[0]}" + (f': write `mask: "{wanted}"` in {CLASSES_FILE}' if wanted else "")
