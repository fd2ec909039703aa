"""The error of a data set that cannot be used. Imports no torch."""

from trainable.configfile.mistakes import RuleError


class DataError(RuleError):
    """The data set is missing, incomplete or broken: lines that say what, and what would be right."""
