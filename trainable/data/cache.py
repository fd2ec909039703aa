"""The cache of decoded frames that all trials on a node share. Imports no torch.

One file per data set and size, named by its fingerprint, in ``DROPCLASS_CACHE``, else in ``dropclass`` under
``XDG_CACHE_HOME``, else in ``~/.cache/dropclass``. It may be deleted whenever no trial runs.

Whoever needs a file first builds it under a file lock, others wait. It is written under another name and renamed when
whole, so a builder that dies at any moment leaves nothing that could be taken for a cache, and its lock dies with it.
Users may share the folder: locks and unfinished files are each user's own, those of others are left alone.
"""

import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trainable.data.build import write_cache
from trainable.data.classes import class_names
from trainable.data.config import FileData
from trainable.data.errors import DataError
from trainable.data.files import user_path
from trainable.data.fingerprint import fingerprint
from trainable.data.layout import SPLITS, Pair, Split, pairs
from trainable.data.mapped import MappedSplit, is_complete, open_mapped

VARIABLE = "DROPCLASS_CACHE"


def cache_folder() -> Path:
    """Where the caches of this node lie."""
    configured = os.environ.get(VARIABLE)
    if configured:
        return user_path(configured, VARIABLE)
    return user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", VARIABLE) / "dropclass"


def cache_path(data: FileData) -> Path:
    """Where the frames of a data section are, or will be; raises ``DataError`` for missing files."""
    folder = cache_folder()
    height, width = data.size
    return folder / f"{data.name}-{height}x{width}-{fingerprint(data, folder)}.arrow"


def open_cache(data: FileData) -> dict[Split, MappedSplit]:
    """Frames of each split from the cache, which is built where it is missing.

    Raises:
        DataError: missing or broken files, or a cache that cannot be written or read.
    """
    with reading(ensure_cache(data)) as path:
        return open_mapped(path)


@contextmanager
def reading(path: Path) -> Iterator[Path]:
    """Raise ``DataError`` in place of OSError where a whole cache is opened."""
    try:
        yield path
    except OSError as error:
        raise DataError(
            f"cache: {path} cannot be read ({_reason(error)}); mend that or let {VARIABLE} name another folder"
        ) from error


def ensure_cache(data: FileData) -> Path:
    """Build the cache of a data section unless it is there; returns its file. Raises as ``open_cache``."""
    path = cache_path(data)
    if not is_complete(path):
        with _refusals(path), _locked(path):
            if not is_complete(path):  # else another process built it while this one waited
                _build(data, path)
    return path


def _build(data: FileData, path: Path) -> None:
    frames: dict[Split, tuple[Pair, ...]] = {split: pairs(data, split) for split in SPLITS}
    classes, count = len(class_names(data)), sum(map(len, frames.values()))
    partial = _partial(path)
    partial.unlink(missing_ok=True)
    _remove_leftovers(path.parent)
    _check_room(path.parent, count * (4 * data.size[0] * data.size[1] + 8 * classes))
    try:
        with _progress(f"Caching {data.name} at {data.size[0]}x{data.size[1]}", count) as advance:
            write_cache(partial, data, frames, classes, advance)
        if cache_path(data) != path:
            raise DataError(f"files under {data.root} changed while they were cached; run it again", "data.root")
        partial.replace(path)
    except PermissionError as error:  # a sticky folder keeps what another user has put there meanwhile
        if not path.exists():
            raise
        if not is_complete(path):
            other = "belongs to another user and is no whole cache that this one may read"
            raise DataError(f"cache: {path} {other}; remove it or let {VARIABLE} name another folder") from error
    finally:
        partial.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    """Where this user builds."""
    return path.with_suffix(f".{os.geteuid()}.partial")


def _check_room(folder: Path, needed: int) -> None:
    """Say so at once where the disk is too full, rather than after an hour of decoding."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"cache: {folder} has {free / 1e6:.0f} MB free, the frames need {needed / 1e6:.0f} MB; "
            f"make room or let {VARIABLE} name another folder"
        )


def _remove_leftovers(folder: Path) -> None:
    """Remove what this user's builders left when they were killed: theirs is a lock that nobody holds."""
    own = [path for path in folder.glob("*.partial") if path.lstat().st_uid == os.geteuid()]
    for partial in own:
        with partial.with_suffix(".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            partial.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a cache; the kernel lets go of it when the process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _partial(path).with_suffix(".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if sys.stderr.isatty():
                print(f"Waiting for another process that builds {path.name}", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into one line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM):  # of a decoding process
            raise DataError(f"cache: the frames cannot be decoded on this machine ({_reason(error)})") from error
        obstacle = Path(error.filename or path)
        obstacle = obstacle if os.access(obstacle.parent, os.W_OK) else obstacle.parent
        raise DataError(
            f"cache: {obstacle} cannot be written ({_reason(error)}); make room or let {VARIABLE} name another folder"
        ) from error


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).rpartition("] ")[2]  # Arrow's: "... Detail: [errno 28] No space left"


@contextmanager
def _progress(title: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on a terminal, nothing elsewhere; yields what advances it."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total)
        yield lambda: progress.advance(task)
