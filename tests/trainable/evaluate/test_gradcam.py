"""Grad-CAM against its equation in loops, and on every architecture."""

import copy
import io
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.trainable import tiny_hrnet
from trainable.data.classes import IGNORE_INDEX
from trainable.data.frames import HeldFrames
from trainable.evaluate.gradcam import gradcam, share_inside
from trainable.evaluate.gradcam_picture import CELL_WIDTH, OUTLINE, gradcam_picture, outline, rarest
from trainable.model.build import build_model
from trainable.model.config import Arch, ModelConfig
from trainable.model.segmenter import Segmenter
from trainable.suppression.block import SuppressionBlock
from trainable.suppression.config import Gate, SuppressionConfig
from trainable.train.compute import choose_compute

CPU = choose_compute("cpu", "fp32")
CLASSES = 3


class Encoder(nn.Module):
    """Two maps: the frame's, and one of half its size."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, kernel_size=3, stride=2, padding=1)

    def forward(self, images_B3HW: Tensor) -> list[Tensor]:
        return [images_B3HW, self.convolution(images_B3HW).relu()]


class Decoder(nn.Module):
    """It works in place, which a map that gradients lead to does not bear."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(4, 5, kernel_size=3, padding=1)

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.convolution(features[-1].mul_(2)).relu()


def network(*, block: bool) -> Segmenter:
    torch.manual_seed(3)
    blocks = {"decoder": SuppressionBlock(5, CLASSES, Gate(name="gate"), "mean", "classifier")} if block else {}
    classifier = nn.Conv2d(5, CLASSES, kernel_size=1)
    return Segmenter(Encoder(), Decoder(), classifier, nn.UpsamplingNearest2d(scale_factor=2), blocks, {}).eval()  # type: ignore[arg-type]


def frame() -> tuple[Tensor, Tensor]:
    """A frame of 8x8, and labels with a class of a single pixel."""
    generator = torch.Generator().manual_seed(0)
    label_HW = torch.zeros(8, 8, dtype=torch.uint8)
    label_HW[2:7, 1:5] = 1
    label_HW[5, 6] = 2
    label_HW[0] = IGNORE_INDEX
    return torch.randint(256, (3, 8, 8), generator=generator).byte(), label_HW


def in_loops(maps_Khw: Tensor, gradient_Khw: Tensor) -> np.ndarray:
    """Vinogradova et al., eq. 1, pixel by pixel."""
    channels, height, width = maps_Khw.shape
    weights = [sum(float(g) for g in gradient_Khw[k].flatten()) / (height * width) for k in range(channels)]
    return np.array(
        [
            [max(0.0, sum(weights[k] * float(maps_Khw[k, i, j]) for k in range(channels))) for j in range(width)]
            for i in range(height)
        ]
    )


@pytest.mark.parametrize("block", [False, True])
def test_the_maps_are_those_of_the_equation(block: bool) -> None:
    """The score is summed over the labelled pixels of logits at the frame's size: each stands for four pixels."""
    model = network(block=block)
    image_3HW, label_HW = frame()
    maps = gradcam(model, CPU, image_3HW, label_HW, range(CLASSES))
    deepest = model.encoder(CPU.network_input(image_3HW[None]))[1].detach().requires_grad_()
    decoded = model.decoder([deepest.clone()])
    changed = model.block("decoder")(decoded, model.importance()["decoder"], None) if block else decoded
    logits_CHW = model.upsample(model.classifier(changed))[0]
    for z in range(CLASSES):
        score = sum(logits_CHW[z, i, j] for i in range(8) for j in range(8) if label_HW[i, j] == z)
        gradients = torch.autograd.grad(score, [decoded, deepest], retain_graph=True)  # type: ignore[arg-type]
        for place, map_1Khw, gradient in zip(("decoder", "encoder"), (decoded, deepest), gradients, strict=True):
            expected = torch.from_numpy(in_loops(map_1Khw[0].detach(), gradient[0]))[None, None]
            expected = nn.functional.interpolate(expected, (8, 8), mode="bilinear", align_corners=False)[0, 0]
            ours = maps[place][z].double() * 4  # ours takes the mean over the pixels that a logit stands for
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)
    assert float(maps["decoder"].sum()) > 0


def test_at_a_plain_decoder_it_is_the_logit_without_its_bias() -> None:
    """METHOD's remark: the gradient of a 1x1 classifier is its weight."""
    model = network(block=False)
    image_3HW, label_HW = frame()
    with torch.no_grad():
        plain = model.plain(CPU.network_input(image_3HW[None])).logits_BChw[0, 1] - model.classifier.bias[1]  # type: ignore[index]
    expected = nn.functional.interpolate(plain.relu()[None, None], (8, 8), mode="bilinear")[0, 0]
    ours = gradcam(model, CPU, image_3HW, label_HW, [1])["decoder"][0]
    torch.testing.assert_close(ours / ours.max(), expected / expected.max())


@pytest.mark.parametrize("arch", get_args(Arch))
def test_every_architecture_and_nothing_of_it_changes(arch: Any) -> None:
    encoder = {"hrnet": tiny_hrnet.ENCODER, "segformer": "mit_b0"}.get(arch, "tu-test_resnet")
    layer: Any = ("branch.2", "decoder") if arch == "hrnet" else "decoder"
    torch.manual_seed(0)
    model = build_model(
        ModelConfig(arch=arch, encoder=encoder, encoder_weights=None), CLASSES, SuppressionConfig(layer=layer)
    ).eval()
    before, random_state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    image_3HW = torch.randint(256, (3, 128, 128), generator=torch.Generator().manual_seed(0)).byte()
    label_HW = (torch.arange(128 * 128).view(128, 128) % CLASSES).byte()
    maps = gradcam(model, CPU, image_3HW, label_HW, [0, 2])
    for map_ZHW in maps.values():
        assert map_ZHW.shape == (2, 128, 128)
        assert bool((map_ZHW >= 0).all())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) if isinstance(value, Tensor) else value == before[name], name
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module.training for module in model.modules())


def test_the_share_of_a_map_on_some_pixels() -> None:
    map_HW = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    assert share_inside(map_HW, map_HW > 2) == 0.75
    assert share_inside(torch.zeros(2, 2), map_HW > 2) is None


def test_the_rarest_classes_of_the_shown_frames() -> None:
    pixels_NC = np.array([[900, 5, 0, 3, 9, 0], [900, 0, 4, 0, 0, 2], [900, 90, 0, 0, 0, 0]])
    assert rarest(pixels_NC, [0, 1], (1, 2, 3, 4, 5)) == [5, 3, 2], "fewest in the split first"
    assert rarest(pixels_NC, [0], (1, 2, 3, 4, 5)) == [3, 4, 1]
    assert rarest(pixels_NC, [2], (5,)) == rarest(pixels_NC, [0, 1, 2], ()) == []


def test_an_outline_is_closed_but_at_the_edge_of_the_frame() -> None:
    inside_hw = np.zeros((5, 6), dtype=bool)
    inside_hw[1:5, 1:5] = True
    rows = ["......", ".####.", ".#..#.", ".#..#.", ".#..#."]
    np.testing.assert_array_equal(outline(inside_hw), [[letter == "#" for letter in row] for row in rows])


def test_a_picture_shows_the_frames_that_have_a_rare_class(make_trial) -> None:
    """Two of four frames: two rows each, of the image and one class; the class is outlined in them."""
    config = make_trial(data={"name": "shapes", "size": [32, 32]})
    torch.manual_seed(0)
    model = build_model(config.model, 6, None)
    labels_B = torch.zeros(4, 32, 32, dtype=torch.uint8)
    labels_B[1, 4:12, 4:12] = labels_B[2, 20:28, 8:16] = 4
    frames = HeldFrames(torch.full((4, 3, 32, 32), 120, dtype=torch.uint8), labels_B)
    png = gradcam_picture(config, model, CPU, frames, rare=(4, 5))
    assert png is not None
    picture = np.asarray(Image.open(io.BytesIO(png)))
    assert 2 * CELL_WIDTH > picture.shape[1] > CELL_WIDTH
    side = CELL_WIDTH // 32 * 32
    assert 4 * side < picture.shape[0] < 5 * side + 150
    outlined = (picture == OUTLINE).all(axis=-1)
    assert outlined.sum() == 4 * (4 * 8 * 4 - 4), "the edge of a square of 8 pixels, each of 4 by 4"
    assert gradcam_picture(config, model, CPU, frames, rare=(5,)) is None
