"""Class names of each data set, in the order of their train ids. Imports no torch."""

from typing import assert_never

from trainable.data.config import CamVidData, CityscapesData, DataConfig, ShapesData

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


def class_names(data: DataConfig) -> tuple[str, ...]:
    """Names of the classes, index = train id."""
    match data:
        case ShapesData():
            return SHAPES
        case CamVidData():
            return CAMVID
        case CityscapesData():
            return CITYSCAPES
        case _:
            assert_never(data)
