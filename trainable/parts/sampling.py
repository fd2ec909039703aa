"""The base class of an own sampling strategy: with which weights the class to suppress is drawn."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from trainable.parts.facts import ClassFacts
from trainable.suppression.drop import Drop


class Sampling(ABC):
    """Named by ``suppression.sampling``; settings are the constructor's arguments.

    The strategy says how likely each class is; the draw is the product's, from the trial's own stream of random
    numbers, so that trials that differ in their strategy alone suppress in the same steps.

    Shapes: B batch (on several ranks this rank's images of it), C classes, G groups that share a draw, H W labels.
    """

    def begin(self, facts: ClassFacts) -> None:  # noqa: B027  # may be left as it is
        """Called once, before the first step, with what the training labels say about the classes."""

    @abstractmethod
    def weights(self, labels_BHW: Tensor) -> Tensor:
        """Weights of the next draw, [C] (or [G,C] where groups differ): at least 0, of any sum, of any float type.

        Called in every step in which something may be dropped. A class of weight 0 is never drawn; where all are 0
        every class is equally likely. On several ranks all must give the same: take what depends on the batch through
        ``trainable.ranks.group.summed``.

        Args:
            labels_BHW: Labels of the batch, int64, 255 where a pixel is ignored.
        """

    def observe(self, logits_BChw: Tensor, labels_BHW: Tensor, drop: Drop | None) -> None:  # noqa: B027
        """Learn from a training step, after its loss: logits of the path that predicts, without gradient."""

    def state_dict(self) -> dict[str, object]:
        """What later draws depend on, for the checkpoint: tensors, numbers, texts, lists and dictionaries of them."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Continue from ``state_dict``; tensors come on the CPU."""
