"""Classes of each data set in the order of their train ids: names, ids in label files, colours. Imports no torch."""

from dataclasses import dataclass
from typing import assert_never

from trainable.data.config import CamVidData, CityscapesData, DataConfig, FolderData, OwnData, ShapesData, VocData
from trainable.data.files import user_path
from trainable.data.folder_classes import Colour, read_classes, voc_colour

IGNORE_INDEX = 255
"""Label of pixels that enter neither the loss nor a metric."""

SHAPES = (
    "meadow", "sand", "disk_rising", "disk_falling", "square_rising", "square_falling",
)  # fmt: skip
CAMVID = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
CITYSCAPES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic_light", "traffic_sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining_table",
    "dog", "horse", "motorbike", "person", "potted_plant", "sheep", "sofa", "train", "tv_monitor",
)  # fmt: skip

CITYSCAPES_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The label id of each train id, 0..18 (Cordts et al. 2016, ``cityscapesScripts/helpers/labels.py``)."""

SHAPES_COLOURS = (
    (104, 159, 56), (225, 200, 140), (214, 39, 40), (255, 152, 0), (49, 84, 204), (0, 188, 212),
)  # fmt: skip
CAMVID_COLOURS = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128),
    (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip
CITYSCAPES_COLOURS = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
    (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142),
    (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip


@dataclass(frozen=True)
class ClassMap:
    """The classes of a data set, index = train id."""

    names: tuple[str, ...]
    ids: tuple[int, ...]
    """The id of each class in the label files."""
    ignored: frozenset[int]
    """Ids in the label files that are no class; every other id is an error."""
    colours: tuple[Colour, ...]
    """Colour of each class in pictures, RGB."""
    mask_colours: tuple[Colour | None, ...] = ()
    """Colour of each class in label files that are stored in colour, as far as it is known; empty where none is."""
    ignored_colours: tuple[Colour, ...] = ()
    """Colours in such files that are no class."""


def class_map(data: DataConfig) -> ClassMap:
    """Classes of the data set; reads ``classes.yaml`` of a folder.

    Raises:
        DataError: a ``classes.yaml`` that is missing or wrong.
    """
    match data:
        case ShapesData():
            return ClassMap(SHAPES, tuple(range(len(SHAPES))), frozenset(), SHAPES_COLOURS)
        case CamVidData():
            return ClassMap(CAMVID, tuple(range(len(CAMVID))), frozenset({len(CAMVID)}), CAMVID_COLOURS)
        case CityscapesData():
            # All of labels.py's ids occur; 255 is its -1 (licence plate) in a byte.
            ignored = frozenset({*range(34), 255}) - frozenset(CITYSCAPES_LABEL_IDS)
            return ClassMap(CITYSCAPES, CITYSCAPES_LABEL_IDS, ignored, CITYSCAPES_COLOURS)
        case VocData():
            colours = tuple(map(voc_colour, range(len(VOC))))
            return ClassMap(VOC, tuple(range(len(VOC))), frozenset({255}), colours, colours, (voc_colour(255),))
        case FolderData():
            file = read_classes(user_path(data.root, "data.root"))
            ids, ignored = file.ids, frozenset(file.ignore)
            return ClassMap(file.names, ids, ignored, file.colours, file.mask_colours, file.ignore_colours)
        case OwnData():
            colours = tuple(voc_colour(index + 1) for index in range(len(data.classes)))
            return ClassMap(data.classes, tuple(range(len(data.classes))), frozenset({IGNORE_INDEX}), colours)
        case _:
            assert_never(data)


def class_names(data: DataConfig) -> tuple[str, ...]:
    """Names of the classes, index = train id; raises as ``class_map``."""
    return class_map(data).names
