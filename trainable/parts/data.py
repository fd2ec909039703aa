"""The base class of an own data set. Imports no torch."""

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from trainable.data.config import Size
from trainable.data.layout import Split

Bytes = npt.NDArray[np.uint8]


class DataSet(ABC):
    """Named by ``data.name``, beside ``data.classes``; all other settings are the constructor's arguments.

    ``data.size``, ``augment``, ``rare_class_sampling`` and ``rare_copy_paste`` are the product's. The frames are read
    once per process and kept in memory. For more than a few thousand frames write a ``folder`` (docs/own-parts.md).

    Shapes: H W the configured size.
    """

    @abstractmethod
    def count(self, split: Split) -> int:
        """How many frames ``train`` or ``val`` holds, at least 1; the same on every machine."""

    @abstractmethod
    def frame(self, split: Split, index: int, size: Size) -> tuple[Bytes, Bytes]:
        """Image uint8 [H,W,3], RGB, and label uint8 [H,W]: ids from 0 in the order of ``data.classes``, 255 ignored.

        Equal arguments must give equal bytes, in every process and in any order.
        """

    def fingerprint(self) -> str:
        """What else the frames depend on, as a hash of the files read; a study refuses to go on where it has changed.

        Code and settings are part of what a trial is known by as it is.
        """
        return ""
