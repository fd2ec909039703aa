"""The ``data`` section: which data set, where it lies, at which size, how it is augmented. Imports no torch."""

import json
from operator import not_
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, ConfigDict, Field, Tag, TypeAdapter, field_validator, model_validator

from trainable.configfile.mistakes import RuleError
from trainable.parts.section import BUILT_IN_OR_OWN, OwnPart
from trainable.section import BUILT_IN, OWN, Section, Seed

SIZE_MULTIPLE = 32
"""Heights and widths are multiples of the deepest encoder stride, so that every architecture accepts them."""

MAX_MEGAPIXELS = 179
"""Where Pillow stops without a setting."""

LONGEST_SIDE = 16384
"""Pixels; the square of it is what a batch may hold, too."""
EVALUATION_SPLITS = 4
"""Contexts in which the built-in scenes are scored."""
MOST_SCENES = 1_000_000
"""Scenes of a split: a million of the smallest fill the memory that they may."""
MOST_SCENE_BYTES = 16 * 2**30
"""Built-in scenes are held in memory, four bytes a pixel."""

Side = Annotated[int, Field(ge=SIZE_MULTIPLE, le=LONGEST_SIDE, multiple_of=SIZE_MULTIPLE)]
Size = tuple[Side, Side]
"""(height, width) in pixels."""
Factor = Annotated[float, Field(ge=0.05, le=20)]
"""Of a scale: beyond these an image is a dot, or a dot is an image."""


def _is_path(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise ValueError(f"expected the path of a folder, got '{text}'")
    return text


Root = Annotated[str, AfterValidator(_is_path)]


class Augment(Section):
    """Random changes of the training images; evaluation sees them as they are."""

    scale: tuple[Factor, Factor] | None = None
    """Range [low, high] of a random scale factor, one per image; null keeps the scale."""
    crop: Size | None = None
    """(height, width) of a random crop after scaling; null crops to the size of the image."""
    crop_max_share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Crops in which one class holds a larger share of the labelled pixels are drawn again, up to ten times."""
    flip: bool = False
    """Mirror left-right with probability one half."""
    photometric: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Strength s of random brightness, contrast and saturation, factors in [1 - s, 1 + s], and hue (s / 10)."""

    @field_validator("scale")
    @classmethod
    def _goes_up(cls, scale: tuple[float, float] | None) -> tuple[float, float] | None:
        if scale is not None and scale[0] > scale[1]:
            raise ValueError(f"low must not be above high, got [{scale[0]:g}, {scale[1]:g}]")
        return scale


class RareClassSampling(Section):
    """Draw the training images by class, rare ones more often (DAFormer, 2111.14887, section 3.3).

    First a class c with probability softmax((1 - f_c) / T), f_c its share of the training pixels, then one of the
    images that hold it, all alike. An epoch has as many steps as without, but images repeat in it, and others wait.
    """

    temperature: Annotated[float, Field(ge=1e-6, le=100)] = 0.01
    """T: small values draw the images of the rarest classes alone, large ones all classes alike."""


class DataSection(Section):
    """What all data sets share."""

    rare_class_sampling: RareClassSampling | None = Field(default=None, exclude_if=not_)
    """Draw training images by class, rare ones more often; null takes each once per epoch."""
    rare_copy_paste: Annotated[float, Field(ge=0, le=1, exclude_if=not_)] = 0.0
    """Probability that the pixels of the rare classes (under 2 % of the training pixels) of another image of the batch
    are pasted over a training image, labels too: simple copy-paste (2012.07177), of pixels for want of instances."""


class ShapesData(DataSection):
    """Built-in synthetic scenes: long-tailed, context-biased shapes. Nothing is downloaded."""

    name: Literal["shapes"]
    size: Size = (64, 64)
    """(height, width) of the images in pixels."""
    train_images: Annotated[int, Field(ge=1, le=MOST_SCENES)] = 400
    """Number of training images."""
    val_images: Annotated[int, Field(ge=1, le=MOST_SCENES)] = 100
    """Number of images in each evaluation split (aligned, uniform, swapped and masked context)."""
    rho: Annotated[float, Field(ge=0, le=1)] = 0.95
    """P(own context | class) in the training images: 1 ties every class to its context."""
    seed: Seed = 0
    """Seed of the scenes; the same for all trials of a study."""
    augment: Augment = Augment()
    """Augmentation of training images; none by default (a flip would turn one class into its twin)."""

    @model_validator(mode="after")
    def _fits_into_memory(self) -> Self:
        images = self.train_images + EVALUATION_SPLITS * self.val_images
        needed = images * self.size[0] * self.size[1] * 4
        if needed > MOST_SCENE_BYTES:
            message = f"{images} scenes of {self.size[0]} x {self.size[1]} need {needed / 2**30:.0f} GiB of memory"
            raise RuleError(f"{message}; at most {MOST_SCENE_BYTES // 2**30}", "data.train_images")
        return self


class FileSection(DataSection):
    """What data sets in files share."""

    max_megapixels: Annotated[int, Field(ge=1, le=10_000, exclude_if=MAX_MEGAPIXELS.__eq__)] = MAX_MEGAPIXELS
    """Images of more megapixels are taken for broken files; they need 7 bytes a pixel while they are decoded."""


class CamVidData(FileSection):
    """CamVid as the SegNet tutorial distributes it: ``train/``, ``trainannot/``, ``val/``, ``valannot/``."""

    name: Literal["camvid"]
    root: Root
    """Folder that holds ``train/``, ``trainannot/``, ``val/`` and ``valannot/``."""
    size: Size = (352, 480)
    """Images and labels are resized to this (height, width); scores are computed at this size."""
    eval_split: Literal["val", "test"] = "val"
    """Frames that are scored: choose by ``val``, report on ``test`` (``test/`` and ``testannot/``)."""
    augment: Augment = Augment(flip=True)
    """Augmentation of training images."""


class CityscapesData(FileSection):
    """Cityscapes in its official layout, ``leftImg8bit/`` and ``gtFine/``; 19 train ids."""

    name: Literal["cityscapes"]
    root: Root
    """Folder that holds ``leftImg8bit/`` and ``gtFine/``."""
    size: Size = (1024, 2048)
    """Images and labels are resized to this (height, width); scores are computed at this size."""
    coarse: bool = False
    """Train on the coarsely labelled frames too: ``leftImg8bit/train_extra/`` with ``gtCoarse/train_extra/``."""
    augment: Augment = Augment(scale=(0.5, 2.1), crop=(512, 1024), crop_max_share=0.75, flip=True)
    """Augmentation of training images."""


class VocData(FileSection):
    """Pascal VOC 2012 as the devkit holds it: 20 classes and background."""

    name: Literal["voc"]
    root: Root
    """Folder that holds ``JPEGImages/``, ``SegmentationClass/`` and ``ImageSets/`` (or ``VOCdevkit/VOC2012`` above)."""
    size: Size = (512, 512)
    """Images are scaled to fit this (height, width), their aspect kept; the rest is padded and ignored."""
    train_aug: bool = True
    """Train on the frames of SBD's list where there is one: ``ImageSets/Segmentation/{train_aug,trainaug}.txt``."""
    augment: Augment = Augment(scale=(0.5, 2.0), flip=True)
    """Augmentation of training images."""


class FolderData(FileSection):
    """A data set of your own: ``images/``, ``masks/`` and ``classes.yaml``."""

    name: Literal["folder"]
    root: Root
    """Folder with ``classes.yaml``, ``images/{train,val}/`` and ``masks/{train,val}/``, or ``train.txt`` and
    ``val.txt`` that list the names of frames in ``images/`` and ``masks/``."""
    size: Size = (512, 512)
    """Images are scaled to fit this (height, width), their aspect kept; the rest is padded and ignored."""
    augment: Augment = Augment(flip=True)
    """Augmentation of training images."""


class OwnData(OwnPart, DataSection):
    """A data set of your own in code (docs/own-parts.md); further keys are arguments of its class."""

    model_config = ConfigDict(extra="allow")

    classes: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1, max_length=254)]
    """Names of the classes, in the order of the ids in its labels."""
    size: Size = (256, 256)
    """(height, width) that its frames have; scores are computed at this size."""
    augment: Augment = Augment()
    """Augmentation of training images; none by default."""

    @field_validator("classes")
    @classmethod
    def _no_class_twice(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(classes)) < len(classes):
            raise ValueError("lists a class twice")
        return classes


def scaled_size(size: Size, scale: float) -> Size:
    """A size at a scale, its sides rounded to what every architecture accepts."""
    height, width = (max(1, round(side * scale / SIZE_MULTIPLE)) * SIZE_MULTIPLE for side in size)
    return height, width


FileData = CamVidData | CityscapesData | VocData | FolderData
"""Data sets that lie in files, and are cached."""
BuiltInData = Annotated[ShapesData | CamVidData | CityscapesData | VocData | FolderData, Field(discriminator="name")]
DataConfig = Annotated[Annotated[BuiltInData, Tag(BUILT_IN)] | Annotated[OwnData, Tag(OWN)], BUILT_IN_OR_OWN]

_DATA: TypeAdapter[DataConfig] = TypeAdapter(DataConfig)
DATA_SECTIONS = {get_args(kind.model_fields["name"].annotation)[0]: kind for kind in get_args(get_args(BuiltInData)[0])}
"""The section of each data set by its name."""


TRAINING_ONLY = frozenset({"augment", "rare_class_sampling", "rare_copy_paste"})
"""Keys of a data section that decide how frames are drawn and changed in training, not what the frames are."""


def frames_of(data: DataConfig) -> DataConfig:
    """The section without what decides the training alone: equal for all that share frames."""
    return data.model_copy(update={"augment": Augment(), "rare_class_sampling": None, "rare_copy_paste": 0.0})


def read_data(tree: object) -> DataConfig:
    """The section that a tree of plain values describes; raises pydantic's ``ValidationError``."""
    return _DATA.validate_json(json.dumps(tree))
