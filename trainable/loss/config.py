"""The ``train.loss`` section: cross-entropy, or what is proposed for rare classes in its place. Imports no torch."""

from typing import Annotated, Literal

from pydantic import Field, Tag

from trainable.parts.section import BUILT_IN_OR_OWN, OwnMember
from trainable.section import BUILT_IN, BY_NAME, NAME_ALONE, Section


class CrossEntropy(Section):
    """Mean cross-entropy over the pixels, weighted by class."""

    name: Literal["ce"]


class Ohem(Section):
    """Cross-entropy of the hard pixels alone (OHEM, 1604.03540, in the form of HRNet's ``OhemCrossEntropy``).

    Equal to it: the probability of the upsampled softmax decides, once over all labelled pixels of the batch (of a GPU
    there); hard are those below the larger of the threshold and the least kept; class weights multiply a pixel's loss
    but not its share in the mean. Different: ``min_kept`` is a share, and where it is all pixels, or probabilities tie
    at its end, none of them is left out; there the easiest one is, or all that tie, and a batch without labels fails.
    """

    name: Literal["ohem"]
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.9
    """A pixel is hard below this probability of its class."""
    min_kept: Annotated[float, Field(gt=0, le=1)] = 0.0625
    """Share of the batch's labelled pixels, the hardest, that is kept at least. HRNet writes a number of pixels: 131072
    are 1/12 of its 3 crops of 512x1024 a GPU, and 1/48 of DropClass's 12."""


class Focal(Section):
    """(1 - p)^gamma times the cross-entropy, p a pixel's probability of its class (1708.02002, eq. 4).

    Class weights take the place of its alpha; the mean is that of the cross-entropy.
    """

    name: Literal["focal"]
    gamma: Annotated[float, Field(ge=0, le=10)] = 2.0
    """0 is the cross-entropy."""


class Dice(Section):
    """Mean over the batch's classes of 1 - 2 sum(p y) / (sum(p) + sum(y)), beside the cross-entropy.

    Source: V-Net (1606.04797) without squares and over the whole batch, as nnU-Net (1809.10486). Class weights act on
    the cross-entropy.
    """

    name: Literal["dice"]
    ce: Annotated[float, Field(ge=0, le=100)] = 1.0
    """Weight of the cross-entropy in the sum (nnU-Net: 1); 0 leaves it out."""


class Lovasz(Section):
    """Lovász-Softmax over the batch's classes (1705.08790), beside the cross-entropy; class weights act on the latter.

    It sorts all pixels once for each class.
    """

    name: Literal["lovasz"]
    ce: Annotated[float, Field(ge=0, le=100)] = 1.0
    """Weight of the cross-entropy in the sum; 0 leaves it out."""


class LogitAdjusted(Section):
    """Cross-entropy of logits_c + tau log f_c, f_c the class's share of the training pixels (2007.07314, eq. 10).

    The evaluation adds nothing: the training has made up for the frequencies.
    """

    name: Literal["logit_adjusted"]
    tau: Annotated[float, Field(ge=0, le=10)] = 1.0
    """1 aims at the mean of the class accuracies, 0 is the cross-entropy."""


BuiltInLoss = Annotated[CrossEntropy | Ohem | Focal | Dice | Lovasz | LogitAdjusted, BY_NAME]
Loss = Annotated[Annotated[BuiltInLoss, Tag(BUILT_IN)] | OwnMember, BUILT_IN_OR_OWN, NAME_ALONE]
