"""Folders and lists of a data set as they lie on disk: what may be a frame, under which names. Imports no torch.

Links to folders are followed, once round a loop. What begins with a dot is no frame: macOS leaves ``._x.png`` beside
``x.png``, Jupyter ``.ipynb_checkpoints/``.
"""

import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from trainable.configfile.mistakes import is_utf8
from trainable.data.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")

NAMED = 3
"""So many files are named by a note, the rest is counted."""

Inode = tuple[int, int]
Names = dict[Path, dict[str, str]]
"""Names in folders that were looked into: as they are, by what they are once composed."""


@dataclass
class FolderFiles:
    """The files below a folder."""

    paths: list[Path] = field(default_factory=list)
    """Sorted."""
    hidden: list[Path] = field(default_factory=list)
    """Images and folders that begin with a dot."""

    @property
    def images(self) -> list[Path]:
        """Those that a data set of one's own is read from."""
        return [path for path in self.paths if path.suffix.lower() in IMAGE_SUFFIXES]


def user_path(text: str, owner: str) -> Path:
    """The path that a user wrote, ``~`` expanded; ``owner`` is named by the ``DataError`` where that fails."""
    if "\0" in text or not is_utf8(text):
        raise DataError(f"expected the path of a folder in UTF-8, got '{text}'", owner)
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise DataError(f"{text}: there is no such home folder; write the path from / on", owner) from error


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what the file system refuses into one line."""
    try:
        yield
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
        raise DataError(f"{error.filename or ''}: {reason}", "data.root") from error


def folder(path: Path) -> Path:
    """The path, which is a folder that can be read; raises ``DataError`` or ``OSError``."""
    if not path.is_dir():
        raise DataError(f"no folder {path}; data.root must be the folder that holds it{_beside(path)}", "data.root")
    os.scandir(path).close()  # a glob would pass over it in silence
    return path


def _beside(path: Path) -> str:
    """The folders that lie where one is missing."""
    names = sorted(p.name for p in path.parent.iterdir() if p.is_dir()) if path.parent.is_dir() else []
    return f"; there is {', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''}" if names else ""


def files_below(path: Path) -> FolderFiles:
    """All files below a folder; raises ``OSError`` for a folder that cannot be read."""
    files = FolderFiles()
    _collect(path, files, frozenset(_inode(above) for above in (path, *path.resolve().parents)))
    files.paths.sort()
    return files


def _collect(path: Path, files: FolderFiles, above: frozenset[Inode]) -> None:
    with os.scandir(path) as entries:
        for entry in entries:
            is_folder, below = entry.is_dir(), path / entry.name
            if entry.name.startswith("."):
                files.hidden += [below] if is_folder or below.suffix.lower() in IMAGE_SUFFIXES else []
            elif not is_folder:
                files.paths.append(below)
            elif (inode := _inode(below)) not in above:
                _collect(below, files, above | {inode})


def _inode(path: Path) -> Inode:
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def identity(path: Path) -> Inode | str:
    """Which file it is, under whatever name: links lead to it, and several names may be one file's."""
    stat = path.stat()
    return (stat.st_dev, stat.st_ino) if stat.st_nlink > 1 else os.path.realpath(path)


def composed(name: str) -> str:
    """The name with its letters and accents in one: macOS takes them apart."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def stored(path: Path, known: Names) -> Path:
    """The path as the disk spells it, up to the composition of letters; as it is where nothing is like it."""
    if str(path).isascii() or os.path.lexists(path):
        return path
    parent = stored(path.parent, known)
    if parent not in known:
        known[parent] = {composed(name): name for name in os.listdir(parent)} if parent.is_dir() else {}
    return parent / known[parent].get(composed(path.name), path.name)


def check_file(path: Path, expected: str) -> None:
    """Refuse what is there and is no file: reading it may never end."""
    if path.is_file() or not os.path.lexists(path):
        return
    kind = "a folder" if path.is_dir() else "no file but a pipe, a socket or a device"
    kind = kind if path.exists() else f"a link to {os.readlink(path)}, which is not there"
    raise DataError(f"{path} is {kind}; {expected} is expected there", "data.root")


def lines(path: Path) -> list[str]:
    """The lines of a list that are not empty, without a byte order mark; raises ``DataError``."""
    check_file(path, "a list")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: cannot be read (not text in UTF-8)", "data.root") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
