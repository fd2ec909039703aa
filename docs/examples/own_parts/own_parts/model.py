"""A network of a few thousand weights."""

from torch import Tensor, nn

from trainable.parts import Model


class Tiny(Model):
    """Two strided convolutions and a wide one; the map has stride 4."""

    def __init__(self, classes: int, width: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 7, padding=3), nn.ReLU(),
        )  # fmt: skip
        self.classifier = nn.Conv2d(width, classes, kernel_size=1)

    def features(self, images_B3HW: Tensor) -> Tensor:
        """Map [B,width,H/4,W/4]."""
        maps_BKhw: Tensor = self.body(images_B3HW)
        return maps_BKhw
