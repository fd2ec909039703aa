"""The error of a trial that cannot go on. Imports no torch."""


class TrialFailed(Exception):
    """The trial cannot go on; one line with the reason and, where there is one, the way out."""
