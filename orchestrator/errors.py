"""Errors that a user can mend."""


class InputError(Exception):
    """Bad input, found after the study file was read; one line per mistake. The command exits with code 2."""
