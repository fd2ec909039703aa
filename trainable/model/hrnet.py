"""The paper's network: the segmentation head of HRNet on the raw branches of timm's HRNets.

Source: ``lib/models/seg_hrnet.py`` of DropClass (Chu, Kim, Han, NeurIPS 2021), which is HRNet's own head (1908.07919,
"HRNetV2"): the four branches at the stride of the first, one 1x1 convolution over all of them, the classifier. Under
``features_only`` timm sends the branches through a part of its classification head, unless ``feature_location`` is "".

Shapes: B batch, C classes, K channels of all branches, H W image; h w are H / 4 and W / 4.
"""

from collections.abc import Sequence

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from segmentation_models_pytorch.base import SegmentationModel
from segmentation_models_pytorch.encoders.timm_universal import TimmUniversalEncoder
from torch import Tensor, fx, nn

from trainable.model.encoders import TIMM_PREFIX
from trainable.model.stages import Tap

BRANCHES = 4
STEM = 1
"""Feature 1 is the 64-channel stem at stride 2; branch k is feature k + 1."""
NORM_MOMENTUM = 0.01
"""Of every batch norm in the official code, in torch's convention; timm's networks have 0.1."""


class HRNetEncoder(TimmUniversalEncoder):  # type: ignore[misc]
    """timm's HRNet, whose branches each leave through a module of their own, where a ``Tap`` takes hold."""

    def __init__(self, name: str, *, pretrained: bool) -> None:
        """Build the timm model ``name``, with the pretrained weights of the hub or random ones."""
        super().__init__(name, pretrained=pretrained, feature_location="")
        self.branches = nn.ModuleList(nn.Identity() for _ in range(BRANCHES))

    def forward(self, images_B3HW: Tensor) -> list[Tensor]:
        """Images, stem [B,64,H/2,W/2] and the four branches, at strides 4 to 32."""
        images_B3HW, stem, *maps = super().forward(images_B3HW)
        return [images_B3HW, stem, *(leave(map_BKhw) for leave, map_BKhw in zip(self.branches, maps, strict=True))]


class HRNetDecoder(nn.Module):
    """ReLU(BN(Conv1x1(branches))): all branches at the stride of the first, one behind the other."""

    def __init__(self, channels: Sequence[int]) -> None:
        """Build for branches of so many channels."""
        super().__init__()
        width = sum(channels)
        self.mix = nn.Sequential(nn.Conv2d(width, width, kernel_size=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))

    def forward(self, features: list[Tensor]) -> Tensor:
        """Map [B,K,h,w] of the encoder's features."""
        first = features[STEM + 1]
        size = first.shape[-2:]
        others = [features[STEM + k] for k in range(2, BRANCHES + 1)]
        resized = [F.interpolate(branch, size=size, mode="bilinear", align_corners=False) for branch in others]
        mixed_BKhw: Tensor = self.mix(torch.cat([first, *resized], dim=1))
        return mixed_BKhw


def create_hrnet(encoder: str, classes: int, *, pretrained: bool) -> SegmentationModel:
    """The network as smp's models are built: ``encoder``, ``decoder`` and ``segmentation_head``, smp's initial weights.

    ``encoder`` is the name of one of timm's HRNets with its prefix. The logits are upsampled with align_corners=False.
    """
    network = SegmentationModel()
    network.encoder = HRNetEncoder(encoder.removeprefix(TIMM_PREFIX), pretrained=pretrained)
    channels = network.encoder.out_channels[STEM + 1 :]
    network.decoder = HRNetDecoder(channels)
    upsample = nn.Upsample(scale_factor=4, mode="bilinear", align_corners=False)
    network.segmentation_head = nn.Sequential(nn.Conv2d(sum(channels), classes, kernel_size=1), upsample)
    network.classification_head = None
    network.initialize()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = NORM_MOMENTUM
    return network


def branch_tap(branch: int) -> Tap:
    """Where ``HRNetEncoder`` hands out branch 1 to 4. Nothing but the decoder follows: a rerun computes no encoder."""
    later = frozenset(f"branches.{k}" for k in range(branch, BRANCHES))
    before = ("model", *(f"branches.{k}" for k in range(branch - 1)))
    return Tap(STEM + branch, f"branches.{branch - 1}", channels_last=False, before=before, after=later)


def without_own_classes(encoder: HRNetEncoder, decoder: HRNetDecoder) -> tuple[nn.Module, nn.Module]:
    """The same two parts, sharing their weights, made of classes of smp and torch alone: for export.

    What stands behind the branches moves into the decoder, which becomes a traced graph.
    """
    plain = smp.encoders.get_encoder(TIMM_PREFIX + encoder.name, weights=None, feature_location="")
    plain.model = encoder.model
    return plain, fx.symbolic_trace(_BranchesAndDecoder(encoder.branches, decoder))


class _BranchesAndDecoder(nn.Module):
    def __init__(self, branches: nn.ModuleList, decoder: HRNetDecoder) -> None:
        super().__init__()
        self.branches, self.decoder = branches, decoder

    def forward(self, features: list[Tensor]) -> Tensor:
        edited = [leave(features[STEM + k]) for k, leave in enumerate(self.branches, start=1)]
        mixed_BKhw: Tensor = self.decoder([features[0], features[STEM], *edited])
        return mixed_BKhw
