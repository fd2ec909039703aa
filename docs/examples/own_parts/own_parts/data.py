"""A data set in code: tiles on a floor. Imports no torch."""

import numpy as np
import numpy.typing as npt

from trainable.parts import DataSet

Bytes = npt.NDArray[np.uint8]
COLOURS = np.array([(90, 90, 90), (200, 60, 60), (60, 60, 200)], dtype=np.uint8)


class Tiles(DataSet):
    """Scenes of a floor (0), a large red tile (1) and a small blue one (2), with noise."""

    def __init__(self, train_frames: int = 24, val_frames: int = 8, noise: int = 30) -> None:
        self.frames = {"train": train_frames, "val": val_frames}
        self.noise = noise

    def count(self, split: str) -> int:
        """Frames of a split."""
        return self.frames[split]

    def frame(self, split: str, index: int, size: tuple[int, int]) -> tuple[Bytes, Bytes]:
        """Image and label, from a generator of their own."""
        random = np.random.default_rng([index, split == "val"])
        label_HW = np.zeros(size, dtype=np.uint8)
        for class_id, share in ((1, 2), (2, 6)):
            height, width = (max(1, side // share) for side in size)
            top, left = int(random.integers(size[0] - height + 1)), int(random.integers(size[1] - width + 1))
            label_HW[top : top + height, left : left + width] = class_id
        noise = random.integers(-self.noise, self.noise + 1, (*size, 3))
        image_HW3 = np.clip(COLOURS[label_HW].astype(int) + noise, 0, 255).astype(np.uint8)
        return image_HW3, label_HW
