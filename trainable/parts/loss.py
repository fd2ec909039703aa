"""The base classes of an own loss, which stands in the place of the cross-entropy in both paths."""

from abc import ABC, abstractmethod

from torch import Tensor

from trainable.parts.facts import ClassFacts


class PixelLoss(ABC):
    """A mean over pixels, named by ``train.loss``; settings are the constructor's arguments.

    The product upsamples the logits in chunks, takes the mean over the labelled pixels (of their class weights where
    there are some), over ranks and micro-batches too, and differentiates. It goes with ``reweight: keep``.

    Shapes: B images of a chunk, C classes, H W labels.
    """

    def begin(self, facts: ClassFacts) -> None:  # noqa: B027  # may be left as it is
        """Called once, before the first step, with what the training labels say about the classes."""

    @abstractmethod
    def pixels(self, logits_BCHW: Tensor, labels_BHW: Tensor, class_weights_C: Tensor | None) -> Tensor:
        """Loss of each pixel [B,H,W], times the weight of its class; 0 where the label is 255, which is ignored.

        Called several times a step with different numbers of images: a pixel's loss depends on that pixel alone. It is
        float32 and differentiable by the logits; nothing else is trained by it.
        """


class Loss(ABC):
    """A loss of whole regions, as Dice: one number for the batch; named by ``train.loss``.

    On several ranks, and in micro-batches, it is the mean of the parts' losses, weighted by their labelled pixels:
    ``train.batch_size`` on one process is then not quite the same as on several.
    """

    def begin(self, facts: ClassFacts) -> None:  # noqa: B027  # may be left as it is
        """Called once, before the first step, with what the training labels say about the classes."""

    @abstractmethod
    def batch(self, logits_BCHW: Tensor, labels_BHW: Tensor, class_weights_C: Tensor | None) -> Tensor:
        """The loss, a scalar, of one path: differentiable by the logits, finite for every batch, 0 without labels.

        Pixels labelled 255 have no part in it: in the suppressed path these are those of the suppressed classes too.
        """
