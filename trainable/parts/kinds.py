"""The kinds of parts, by the keys at which a file names them. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """What a part at a key has to be."""

    bases: tuple[str, ...]
    """Names of classes in ``trainable.parts``, of which its class is derived from one."""
    of_the_product: frozenset[str] = frozenset()
    """Keys of its section that are no settings of the class."""
    given: int = 0
    """Arguments of the constructor before the settings."""


KINDS: Mapping[str, Kind] = {
    "mechanism": Kind(("Mechanism",)),
    "sampling": Kind(("Sampling",)),
    "loss": Kind(("PixelLoss", "Loss")),
    "metrics": Kind(("Metric",), frozenset({"mode"})),
    "data": Kind(("DataSet",), frozenset({"classes", "size", "augment", "rare_class_sampling", "rare_copy_paste"})),
    "arch": Kind(("Model",), given=1),
}
"""By the last key of a part's path."""
ALWAYS = frozenset({"name", "sha256"})
"""Keys that every section of a part has."""
