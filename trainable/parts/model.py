"""The base class of an own network."""

from abc import abstractmethod

from torch import Tensor, nn

from trainable.parts.facts import ClassFacts as ClassFacts


class Model(nn.Module):
    """Named by ``model.arch``; settings are the constructor's arguments, after the number of classes.

    A network in two parts: ``features`` gives the map that suppression acts on at ``layer: decoder``, ``classifier`` is
    the convolution that makes logits of it. The product upsamples them to the image's size, bilinearly. Inner stages
    cannot be suppressed, the input can.

    Random weights come from torch's global generator, which the trial's seed has set. Images are normalised by
    ImageNet's mean and deviation.

    Shapes: B batch, K channels of the map, C classes, H W image, h w the map.
    """

    classifier: nn.Conv2d
    """Convolution [C,K,k,k] that keeps h and w."""

    @abstractmethod
    def features(self, images_B3HW: Tensor) -> Tensor:
        """The map [B,K,h,w] in front of the classifier; H and W are multiples of 32."""
