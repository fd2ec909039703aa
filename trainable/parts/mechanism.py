"""The base class of an own mechanism: how the channels of a layer's map change when classes are suppressed."""

from abc import ABC, abstractmethod

from torch import Tensor


class Mechanism(ABC):
    """Named by ``suppression.mechanism``; settings are the constructor's arguments.

    It acts in the place of ``gate``: at the decoder's map or at a stage of the encoder, never at the input. The map
    itself is not seen: what comes back is folded into the weight of the block's 1x1 convolution, in training, in the
    evaluation and in the exported network.

    One that learns, or keeps state, is a ``torch.nn.Module`` too: its parameters are trained with the network's and its
    buffers are part of the checkpoint. Whatever else it keeps is lost when a trial goes on after a stop.

    Shapes: C classes, K channels of the map, G groups that share a draw (1: the whole batch, else one per image).
    """

    def begin(self, channels: int, classes: int) -> None:  # noqa: B027  # may be left as it is
        """Called once, before the first step: make parameters here where their shape depends on K or C."""

    @abstractmethod
    def channels(self, importance_CK: Tensor, keep_GC: Tensor | None, seed: int) -> Tensor:
        """What each channel is multiplied by, [G,K]; or a matrix [G,K,K] that takes the place of the map's channels.

        Called in every step, and in every evaluation with ``keep_GC`` None: what it gives then is folded into the
        exported network. Equal arguments and weights must give equal bits: draw from a generator seeded by ``seed``
        alone. Gradients flow through the result into ``importance_CK``.

        Args:
            importance_CK: S, float32: how important a channel is to a class (``suppression.importance``).
            keep_GC: m, float: 1 for a class that is kept, 0 for a suppressed one; None: all are kept, and G is 1.
            seed: Of the step's own draws, equal on all ranks.
        """
