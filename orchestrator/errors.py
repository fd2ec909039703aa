"""Errors that a user can mend, and errors told in one line."""


class InputError(Exception):
    """Bad input, found after the study file was read; one line per mistake. The command exits with code 2."""


def one_line(error: BaseException) -> str:
    """The error's text on one line."""
    return " ".join(str(error).split())
