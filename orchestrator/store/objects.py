"""Objects of a study on any filesystem that pyarrow.fs opens: written whole or not at all, believed by checksum only.

A local file is written beside its place, flushed to the disk and renamed; an object store shows an object once it is
complete. Where other objects make good what the machine's own end may take, the disk need not be waited for. JSON
objects carry the SHA-256 of their content in an envelope, binary ones at their end, so that a torn, truncated or
altered object is known as such.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pyarrow import ArrowException
from pyarrow import fs as arrow_fs

from orchestrator.errors import StorageError, refusal
from orchestrator.store.addresses import form_of, join, redacted

DIGEST_BYTES = 32


class DamagedError(ValueError):
    """An object is not what was written; the message names it."""


class Objects:
    """Objects below one address, by names relative to it.

    Raises (all methods): StorageError where the storage cannot be used.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        try:
            filesystem, root = arrow_fs.FileSystem.from_uri(uri)
            if filesystem.type_name == "abfs":  # without credentials it aborts the process at the first read, not here
                filesystem.get_file_info(root)
        except OSError as error:
            raise StorageError(redacted(str(error))) from error
        except (ValueError, ArrowException) as error:  # pyarrow's own: the address is none
            raise StorageError(redacted(f"{error}; {form_of(uri)}" if "://" in uri else str(error))) from error
        self._fs: arrow_fs.FileSystem = filesystem
        self._root: str = root
        self._local = isinstance(filesystem, arrow_fs.LocalFileSystem)
        self._had_parent = not self._local or os.path.isdir(os.path.dirname(root))

    def address(self, name: str) -> str:
        """Where an object lies, for messages; no secret is in it."""
        return redacted(join(self.uri, name))

    def names(self, folder: str) -> list[str]:
        """Names of the objects and folders in a folder, sorted; none where it does not exist or is a file."""
        return sorted(info.base_name for info in self._listed(folder))

    def is_file(self, name: str) -> bool:
        """Whether there is an object of this name."""
        with self._door(name):
            return bool(self._fs.get_file_info(f"{self._root}/{name}").type == arrow_fs.FileType.File)

    def files(self, folder: str) -> list[str]:
        """Names of all objects below a folder, ``folder`` included, sorted; none where it does not exist."""
        listed = self._listed(folder, recursive=True)
        paths = [info.path for info in listed if info.type == arrow_fs.FileType.File]
        return sorted(path[path.index(f"{self._root}/{folder}") + len(self._root) + 1 :] for path in paths)

    def times(self, folder: str) -> list[float]:
        """When each object of a folder was last written, in seconds since 1970."""
        return [info.mtime.timestamp() for info in self._listed(folder) if info.mtime is not None]

    def written(self, name: str) -> float | None:
        """When an object was last written, in seconds since 1970; None where there is none."""
        with self._door(name):
            info = self._fs.get_file_info(f"{self._root}/{name}")
        return info.mtime.timestamp() if info.type == arrow_fs.FileType.File and info.mtime is not None else None

    def read(self, name: str) -> bytes | None:
        """Content of an object; None where there is none."""
        with self._door(name):
            try:
                with self._fs.open_input_stream(f"{self._root}/{name}") as stream:
                    content: bytes = stream.read()
            except (FileNotFoundError, NotADirectoryError):  # a file lies where a folder is looked for
                return None
            return content

    def write(self, name: str, content: bytes, *more: bytes, flush: bool = True) -> None:
        """Replace an object as a whole; without ``flush`` the end of the machine, and that alone, may damage it.

        What is large may come in parts: nothing copies them together.
        """
        target = f"{self._root}/{name}"
        with self._door(name):
            if self._local:
                _write_local(target, (content, *more), flush=flush)
                return
            with self._fs.open_output_stream(target) as stream:
                for part in (content, *more):
                    stream.write(part)

    def delete(self, name: str) -> None:
        """Remove an object; nothing happens where there is none."""
        with self._door(name), suppress(FileNotFoundError):
            self._fs.delete_file(f"{self._root}/{name}")

    def remove_if_empty(self) -> None:
        """Remove the folder of a study that never began, and the one around it if it came with it.

        Only local folders exist without objects.
        """
        if self._local:
            with suppress(OSError):  # it holds something
                os.rmdir(self._root)
                if not self._had_parent:
                    os.rmdir(os.path.dirname(self._root))

    def read_json(self, name: str) -> Any:
        """Value of a JSON object; None where there is none.

        Raises:
            DamagedError: its content does not match its checksum.
        """
        content = self.read(name)
        if content is None:
            return None
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            envelope = json.loads(content)
            if envelope["sha256"] == _digest(envelope["content"]).hex():
                return envelope["content"]
        raise self._damaged(name)

    def write_json(self, name: str, value: object, *, flush: bool = True) -> None:
        """Replace a JSON object; ``flush`` as for ``write``."""
        text = json.dumps({"sha256": _digest(value).hex(), "content": value}, indent=1)
        self.write(name, text.encode(), flush=flush)

    def read_sealed(self, name: str) -> bytes | None:
        """Content of a binary object; None where there is none.

        Raises:
            DamagedError: its content does not match its checksum.
        """
        sealed = self.read(name)
        if sealed is None:
            return None
        content, digest = sealed[:-DIGEST_BYTES], sealed[-DIGEST_BYTES:]
        if len(digest) != DIGEST_BYTES or hashlib.sha256(content).digest() != digest:
            raise self._damaged(name)
        return content

    def write_sealed(self, name: str, *parts: bytes) -> None:
        """Replace a binary object, given in parts."""
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        self.write(name, *parts, digest.digest())

    def _listed(self, folder: str, *, recursive: bool = False) -> Sequence[arrow_fs.FileInfo]:
        selector = arrow_fs.FileSelector(f"{self._root}/{folder}", allow_not_found=True, recursive=recursive)
        with self._door(folder):
            try:
                infos: Sequence[arrow_fs.FileInfo] = self._fs.get_file_info(selector)
            except NotADirectoryError:
                return []
            return infos

    @contextmanager
    def _door(self, name: str) -> Iterator[None]:
        """Say whose an error of the operating system is: everything that a study keeps comes through here."""
        try:
            yield
        except OSError as error:
            raise StorageError(f"{self.address(name)}: {redacted(refusal(error))}") from error

    def _damaged(self, name: str) -> DamagedError:
        return DamagedError(f"{self.address(name)}: damaged, its content does not match its checksum")


def _write_local(target: str, parts: Sequence[bytes], *, flush: bool) -> None:
    folder = os.path.dirname(target)
    os.makedirs(folder, exist_ok=True)
    partial = f"{folder}/.{os.path.basename(target)}.{uuid.uuid4().hex}"
    try:
        with open(partial, "wb") as stream:
            stream.writelines(parts)
            if flush:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(partial, target)
    except BaseException:
        with suppress(OSError):
            os.remove(partial)
        raise


def _digest(value: object) -> bytes:
    """Hash the value and not its text: keys keep their order, numbers their digits."""
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).digest()
