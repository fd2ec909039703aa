"""``train.txt`` and ``val.txt`` of a folder data set: the images that they name. Imports no torch."""

import os
import posixpath
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path

from trainable.data.errors import DataError
from trainable.data.files import composed, files_below, lines
from trainable.data.listing import some


def named_images(names: Path, images: Path) -> list[Path]:
    """The images that a list names, with or without their suffix or the name of their folder.

    Raises:
        DataError: a name of no image, or of several.
    """
    by_name: dict[str, list[Path]] = {}
    for path in files_below(images).images:
        relative = path.relative_to(images)
        for name in (relative.with_suffix("").as_posix(), relative.as_posix()):
            by_name.setdefault(composed(name), []).append(path)
    frames = []
    for name in lines(names):
        plain = posixpath.normpath(name.replace("\\", "/")).removeprefix(f"{images}/").removeprefix("images/")
        paths = by_name.get(composed(name), by_name.get(composed(plain), []))
        if not paths:
            missing = f"{images / plain}{'' if posixpath.splitext(plain)[1] else '.png or .jpg'}"
            raise DataError(f"{names} names {name}, but there is no {missing}{_like(plain, by_name)}", "data.root")
        if len(paths) > 1:
            raise DataError(f"{names} names {name}, which may be {some(paths, images)}; add the type", "data.root")
        frames.append(paths[0])
    return frames


def _like(name: str, names: Iterable[str]) -> str:
    """What a list may have meant: the image of this name in another folder, or one of a name like it."""
    last = name.rpartition("/")[2].casefold()
    close = [other for other in names if other.rpartition("/")[2].casefold() == last] or get_close_matches(name, names)
    return f"; did you mean {close[0]}?" if close else ""


def unread_lists(root: Path, split: str) -> Iterator[str]:
    """A line for every file that looks like the list of a split and is not read."""
    for name in sorted(os.listdir(root)):
        stem, suffix = os.path.splitext(name.lower())
        if stem == split and suffix in (".txt", ".lst", ".csv", ".json"):
            yield f"{root / name} is not read: a list is called {split}.txt; all images of the folder {split} are"
