"""Errors that a user can mend."""


class InputError(Exception):
    """Bad input, found after the study file was read; one line per mistake. The command exits with code 2."""


def one_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split())
