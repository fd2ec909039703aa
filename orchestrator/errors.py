"""Errors that a user can mend, and errors told in one line."""

import re


class InputError(Exception):
    """Bad input, found after the study file was read; one line per mistake. The command exits with code 2."""


class TryAgain(Exception):
    """What another moment may allow: the message says what keeps the launch. The command exits with code 75."""


class MachineError(OSError):
    """What a place on a machine cannot do; the message says which place it is, why, and what would be right."""


class StorageError(MachineError):
    """The storage of the studies cannot be used; the message names the file and the reason."""


def one_line(error: BaseException) -> str:
    """The error's text on one line."""
    return " ".join(str(error).split())


def in_short(error: Exception) -> str:
    """At most 200 letters of the error's text on one line; its type where it says little without, or nothing."""
    text = one_line(error)[:200]
    return f"{type(error).__name__}: {text}" if isinstance(error, LookupError) else text or type(error).__name__


def refusal(error: OSError) -> str:
    """The reason alone, in words: ``No space left on device``."""
    text = " ".join((error.strerror or str(error)).split())
    return re.sub(r"(?i).*\[errno \d+\] ", "", text)  # of pyarrow: "Failed to open ... Detail: [errno 13] Permission"
