"""How many frames a split of a data set has, without decoding one. Imports no torch."""

from trainable.data.config import DataConfig, OwnData, ShapesData
from trainable.data.layout import Split, pairs


def frame_count(data: DataConfig, split: Split) -> int:
    """Frames of a split.

    Raises:
        DataError: files are missing, or a data set of one's own cannot be used.
    """
    match data:
        case ShapesData():
            return data.train_images if split == "train" else data.val_images
        case OwnData():
            from trainable.data.own_data import own_count  # late: it runs the class

            return own_count(data, split)
        case _:
            return len(pairs(data, split))
