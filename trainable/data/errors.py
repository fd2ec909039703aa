"""The error of a data set that cannot be used. Imports no torch."""


class DataError(ValueError):
    """The data set is missing, incomplete or broken: one line that says what, and what would be right."""
