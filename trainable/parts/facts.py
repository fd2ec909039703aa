"""What a part of one's own is told of the classes before a trial's first step. Imports no torch."""

from dataclasses import dataclass

from trainable.data.statistics import ClassStatistics


@dataclass(frozen=True)
class ClassFacts:
    """The classes of the trial's data set, index = class id."""

    names: tuple[str, ...]
    """[C], as the data set names them."""
    statistics: ClassStatistics
    """Pixels and images of each class, of the training labels at the configured size."""
    rare: tuple[int, ...]
    """Ids of the rare classes: under 2 % of the training pixels."""
