"""The sections of the mechanisms: how a layer is suppressed. Imports no torch."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, Tag, model_validator

from trainable.configfile.mistakes import RuleError
from trainable.parts.section import BUILT_IN_OR_OWN, OwnMember, OwnPart
from trainable.section import BUILT_IN, BY_NAME, NAME_ALONE, Section


class Gate(Section):
    """Scale each channel by the mean of the kept classes' importance (official)."""

    name: Literal["gate"]


class Hard(Section):
    """Set the channels most important to the suppressed class to zero (as RSC, 2007.02454)."""

    name: Literal["hard"]
    q: Annotated[float, Field(gt=0, lt=1)] = 0.33
    """Share of the channels that is masked."""


class Projection(Section):
    """Remove the component of the feature map along the suppressed class's importance (as INLP, 2004.07667)."""

    name: Literal["projection"]


class RandomChannels(Section):
    """Control: the factors by which the gate changes, on randomly permuted channels."""

    name: Literal["random_channels"]


class Erase(Section):
    """Erase the pixels labelled with the suppressed classes, in one path and without a block (after 1812.06707).

    At a feature layer the cells are erased of which more than half of the pixels would be.
    """

    name: Literal["erase"]
    fill: Literal["noise", "mean", "blur", "swap", "none"] = "noise"
    """What stands in their place: noise: the image's mean colour and normal noise of 10 of 255 levels (in a map the
    mean and deviation of its channels); mean: that colour alone; blur: a blurred copy, which keeps the colour of large
    regions; swap: the pixels of another image of the batch; none: they stay (control: their labels alone go)."""
    labels: Literal["ignored", "kept"] = "ignored"
    """Whether the loss ignores erased pixels."""
    dilate: Annotated[int, Field(ge=0, le=100)] = 0
    """Pixels by which the mask is grown, for rims that tell the class."""
    mask: Literal["class", "elsewhere", "blocks"] = "class"
    """Which pixels: those of the classes; elsewhere (control): those that another image of the batch would lose; blocks
    (control): as many in small blocks at random places."""

    @model_validator(mode="after")
    def _has_an_effect(self) -> Self:
        if self.fill == "none" and self.labels == "kept":
            raise RuleError("with fill none and the labels kept nothing is suppressed", "suppression.mechanism.labels")
        return self

    @property
    def needs_other_images(self) -> bool:
        """Whether it takes a mask or pixels from another image of the batch."""
        return self.fill == "swap" or self.mask == "elsewhere"


class Auto(Section):
    """erase at the input, gate elsewhere."""

    name: Literal["auto"]


ChannelMechanism: TypeAlias = Gate | Hard | Projection | RandomChannels | OwnPart
"""What changes the channels of a map, in a block."""
BuiltInMechanism = Annotated[Auto | Gate | Hard | Projection | RandomChannels | Erase, BY_NAME]
Mechanism = Annotated[Annotated[BuiltInMechanism, Tag(BUILT_IN)] | OwnMember, BUILT_IN_OR_OWN, NAME_ALONE]
