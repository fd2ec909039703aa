"""A study's table as CSV, in a local file or on stdout."""

import io
import os
import sys
from typing import TextIO

import pyarrow as pa
from pyarrow.csv import write_csv

from orchestrator.errors import InputError
from orchestrator.store.addresses import redacted
from orchestrator.store.foreign_files import refuse_inside

STDOUT = "-"
_HEAD = b'"trial","kind","arm","block","state","reason","seed","epoch"'
"""What every export begins with."""


def is_stdout(file: str) -> bool:
    """Whether a file is this process's stdout, by whatever name."""
    if file == STDOUT:
        return True
    try:
        return os.path.samestat(os.stat(file), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):  # no such file, or a stdout that is no file of the system's
        return False


def check_table_file(file: str, storage: str, *, force: bool) -> None:
    """Refuse a file that is none, that a study or another program has, or that cannot be.

    Raises:
        InputError: it cannot be written to, or only with ``force``.
    """
    option = f"--csv {redacted(file)}"
    if not file.strip():
        raise InputError("--csv: names no file; - is stdout")
    if "://" in file:
        raise InputError(f"{option}: only local files are written; give a path, or - for stdout")
    if is_stdout(file):
        return
    refuse_inside(option, file, storage)
    folder = os.path.dirname(os.path.realpath(file))
    if not os.path.isdir(folder):
        raise InputError(f"{option}: there is no folder {folder}")
    if os.path.isdir(file):
        raise InputError(f"{option}: is a folder; name a file")
    if os.path.isfile(file) and not force and not _is_export(file, option):
        raise InputError(f"{option}: is there, and is no table of an export; --force replaces it")


def write_table_file(rows: pa.Table, file: str, stdout: TextIO | None) -> None:
    """Write the table.

    Args:
        rows: What to write.
        file: A file that ``check_table_file`` takes.
        stdout: Where it goes instead, if the file is stdout.

    Raises:
        InputError: the file cannot be written to.
        OSError: stdout cannot.
    """
    buffer = io.BytesIO()
    write_csv(rows, buffer)
    if stdout is not None:
        stdout.write(buffer.getvalue().decode())
        stdout.flush()
        return
    try:
        with open(file, "wb") as opened:
            opened.write(buffer.getvalue())
    except OSError as error:
        raise InputError(f"--csv {file}: {error.strerror}") from error


def _is_export(file: str, option: str) -> bool:
    """Whether an earlier export wrote a file, or nobody anything."""
    try:
        with open(file, "rb") as opened:
            start = opened.read(len(_HEAD))
    except OSError as error:
        raise InputError(f"{option}: {error.strerror}") from error
    return start in (b"", _HEAD)
