"""Errors that a user can mend, and errors told in one line."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(Exception):
    """Bad input, found after the study file was read; one line per mistake. The command exits with code 2."""


def one_line(error: BaseException) -> str:
    """The error's text on one line."""
    return " ".join(str(error).split())


@contextmanager
def storage_errors(option: str) -> Iterator[None]:
    """Raise InputError in place of OSError: what a storage or a folder cannot do, by the option that names it."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{option}: {one_line(error)}") from error
