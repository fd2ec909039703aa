"""A network of one's own as the parts of a `Segmenter`: features, classifier, upsampling.

Shapes: B batch, K channels, C classes, H W image, h w the map.
"""

import torch
from torch import Tensor, nn

from trainable.model.config import ModelConfig
from trainable.model.encoders import ModelError
from trainable.parts.loading import PartFailed, build, own_code
from trainable.parts.model import Model
from trainable.parts.section import OwnPart

TRIED = 64
"""Side of the image that tells the map's stride."""


class Features(nn.Module):
    """The network in front of its classifier, in the place of an encoder: the one map is that of its only stage."""

    def __init__(self, network: Model, name: str) -> None:
        super().__init__()
        self.network, self.name = network, name

    def forward(self, images_B3HW: Tensor) -> list[Tensor]:
        """The map, alone in a list."""
        with own_code(self.name):
            maps_BKhw = self.network.features(images_B3HW)
        if not isinstance(maps_BKhw, Tensor) or maps_BKhw.ndim != 4 or len(maps_BKhw) != len(images_B3HW):
            got = f"shape {list(maps_BKhw.shape)}" if isinstance(maps_BKhw, Tensor) else type(maps_BKhw).__name__
            raise PartFailed(f"{self.name}: features() gave {got}; expected [{len(images_B3HW)},K,h,w]")
        return [maps_BKhw]


class LastMap(nn.Module):
    """In the place of a decoder: the map as it is."""

    def forward(self, features: list[Tensor]) -> Tensor:
        """The last of the maps."""
        return features[-1]


class Exported(nn.Module):
    """A trained network of one's own as a plain module: images in, logits at their size out."""

    def __init__(self, network: Model, head: nn.Module) -> None:
        super().__init__()
        self.network, self.segmentation_head = network, head

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Logits [B,C,H,W]."""
        logits_BCHW: Tensor = self.segmentation_head(self.network.features(images_B3HW))
        return logits_BCHW


def own_parts(model: ModelConfig, classes: int) -> tuple[Features, LastMap, nn.Conv2d, nn.Module]:
    """Features, decoder, classifier and upsampling of the network that ``model.arch`` names.

    Raises:
        ModelError: its class cannot be used, or is no such network.
    """
    assert isinstance(model.arch, OwnPart)
    name = model.arch.name
    try:
        network: Model = build(model.arch, Model, classes)
        return parts_of(name, network, classes)
    except PartFailed as error:
        raise ModelError(f"model.arch: {error}") from error


def parts_of(name: str, network: Model, classes: int) -> tuple[Features, LastMap, nn.Conv2d, nn.Module]:
    """The same of a network; raises `PartFailed`."""
    classifier = getattr(network, "classifier", None)
    if not isinstance(classifier, nn.Conv2d):
        raise PartFailed(f"{name}: classifier is a {type(classifier).__name__}, not a torch.nn.Conv2d")
    if classifier.out_channels != classes:
        raise PartFailed(f"{name}: the classifier has {classifier.out_channels} outputs for {classes} classes")
    features = Features(network, name)
    stride = _stride(features, classifier)
    network.classifier = nn.Identity()  # type: ignore[assignment]  # it stands beside the features
    upsample = nn.UpsamplingBilinear2d(scale_factor=stride) if stride > 1 else nn.Identity()
    return features, LastMap(), classifier, upsample


@torch.no_grad()
def _stride(features: Features, classifier: nn.Conv2d) -> int:
    """Of the map, by one image; the network is left as it was."""
    features.eval()
    (maps_BKhw,) = features(torch.zeros(1, 3, TRIED, TRIED, device=classifier.weight.device))
    features.train()
    channels, (height, width) = maps_BKhw.shape[1], maps_BKhw.shape[2:]
    if channels != classifier.in_channels:
        message = f"features() gave {channels} channels, the classifier takes {classifier.in_channels}"
        raise PartFailed(f"{features.name}: {message}")
    if height != width or height < 1 or TRIED % height:
        message = f"features() gave {height} x {width} of {TRIED} x {TRIED} pixels; expected a whole stride"
        raise PartFailed(f"{features.name}: {message}")
    return int(TRIED // height)
