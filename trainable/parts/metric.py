"""The base class of an own metric of the evaluation split."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from trainable.parts.facts import ClassFacts


class Metric(ABC):
    """Listed in ``evaluation.metrics``; a class ``RareRecall`` is reported as ``val/rare_recall``.

    Further keys of its section are the constructor's arguments, all but ``mode``, which says whether larger values are
    better (max, the default) or smaller ones.
    A metric is a sum over the images, and a number made of the sum: so it is the same on one process and on several.

    Shapes: B batch, C classes, H W frame.
    """

    def begin(self, facts: ClassFacts) -> None:  # noqa: B027  # may be left as it is
        """Called once for each evaluation, before ``measure``."""

    @abstractmethod
    def measure(self, logits_BCHW: Tensor, labels_BHW: Tensor) -> Tensor:
        """What a batch adds to the sum: a tensor of any shape, the same for every batch; counts as float64 or int64.

        Called without gradients for every batch of the evaluation split. Pixels labelled 255 are ignored. Logits are up
        to a constant per pixel; their softmax is the prediction.
        """

    @abstractmethod
    def value(self, total: Tensor) -> float:
        """The metric, from the sum over all images, on the CPU; NaN where it is undefined, which is left out."""

    def per_class(self, total: Tensor) -> Sequence[float] | None:  # noqa: ARG002
        """The metric of each class [C], reported as ``val/NAME/CLASS``; NaN where undefined. None: it has none."""
        return None
