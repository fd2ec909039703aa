import copy
import math
import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchmetrics.classification import MulticlassCalibrationError

from tests.trainable import tiny_hrnet
from trainable.data.classes import IGNORE_INDEX
from trainable.data.frames import HeldFrames
from trainable.evaluate import diagnostics
from trainable.evaluate.diagnostics import chance_purity, channel_purity, diagnose
from trainable.evaluate.metrics.calibration import BINS, Calibration
from trainable.evaluate.metrics.names import (
    CHANNEL_PURITY,
    COLLATERAL,
    DROPPED_PROBABILITY,
    KEPT_PROBABILITY,
    PURITY_ABOVE_CHANCE,
    WEIGHT_COSINE,
    WEIGHT_COSINE_FREQUENT,
)
from trainable.model.build import build_model
from trainable.model.config import ModelConfig
from trainable.model.segmenter import Segmenter
from trainable.suppression.block import SuppressionBlock
from trainable.suppression.config import SuppressionConfig
from trainable.suppression.drop import Drop
from trainable.suppression.mechanism_sections import ChannelMechanism, Gate, Hard, Projection, RandomChannels
from trainable.train.clock import PartClock
from trainable.train.compute import choose_compute
from trainable.train.engine import fit
from trainable.train.step import Batch, two_path_losses

CPU = choose_compute("cpu", "fp32")

effects = torch.inference_mode()(diagnostics.effects)


def test_channel_purity_by_hand() -> None:
    assert channel_purity(torch.eye(4)) == 1
    assert channel_purity(torch.ones(5, 7)) == pytest.approx(1 / 5)
    # channels: 3 of 4, all negative (left out), 1 of 1
    assert channel_purity(torch.tensor([[3.0, -1.0, 0.0], [1.0, -2.0, 2.0]])) == pytest.approx((3 / 4 + 1) / 2)
    assert math.isnan(channel_purity(-torch.ones(3, 4)))
    assert channel_purity(1e-30 * torch.eye(3)) == 1, "no scale enters"


@pytest.mark.parametrize(
    ("classes", "law", "expected"),
    [
        (6, "uniform", 0.563),
        (11, "uniform", 0.346),
        (19, "uniform", 0.206),
        (6, "normal", 0.603),
        (11, "normal", 0.398),
    ],
)
def test_chance_is_the_purity_of_random_weights(classes: int, law: Any, expected: float) -> None:
    """Drawn by numpy, channel by channel; the expected values are means of 50,000 channels."""
    rng = np.random.default_rng(classes)
    draw = rng.random if law == "uniform" else rng.standard_normal
    shares = []
    for _ in range(20_000):
        positive = np.maximum(draw(classes) - (0.5 if law == "uniform" else 0), 0)
        if positive.sum():
            shares.append(positive.max() / positive.sum())
    assert chance_purity(classes, 1, law) == pytest.approx(float(np.mean(shares)), abs=0.006)
    assert chance_purity(classes, 1, law) == pytest.approx(expected, abs=0.004)
    assert chance_purity(classes, 1, law) == chance_purity.__wrapped__(classes, 1, law), "no state enters"


def test_a_mean_over_a_kernel_is_nearly_normal() -> None:
    assert chance_purity(11, 9, "uniform") == pytest.approx(chance_purity(11, 1, "normal"), abs=0.01)
    assert chance_purity(11, 9, "uniform") != chance_purity(11, 1, "uniform")


@pytest.mark.parametrize("layer", ["decoder", "encoder.3", ("encoder.2", "decoder")])
@pytest.mark.parametrize(("arch", "importance"), [("fpn", "auto"), ("unet", "auto"), ("fpn", "gradient")])
def test_a_fresh_network_is_at_chance(arch: Any, importance: Any, layer: Any) -> None:
    """unet's classifier has a 3x3 kernel. Gradient importance is one pass's, as after the first training step."""
    torch.manual_seed(1)
    suppression = SuppressionConfig(layer=layer, importance=importance)
    encoder = ModelConfig(arch=arch, encoder="resnet18", encoder_weights=None)
    model = build_model(encoder, 11, suppression)
    images_B3HW = torch.randint(256, (4, 3, 64, 64)).byte()
    if importance == "gradient":
        model.train()
        model.importance(model.plain(CPU.network_input(images_B3HW)))
    found = diagnose(model, CPU, HeldFrames(images_B3HW, torch.zeros(4, 64, 64).byte()), 4)
    assert abs(found[PURITY_ABOVE_CHANCE]) < 0.06, "one draw of few channels"
    assert found[CHANNEL_PURITY] > 0.3


@pytest.mark.parametrize(("init", "law"), [("torch", "uniform"), ("small", "normal")])
@pytest.mark.parametrize("layer", ["decoder", "encoder.2"])
def test_a_trial_is_compared_with_the_law_of_its_own_initial_weights(
    make_trial, init: str, law: Any, layer: str
) -> None:
    """Weights that hardly move stay at chance; the other law's is 0.04 off."""
    config = make_trial(
        model={"encoder": "resnet18", "init": init},
        train={"epochs": 1, "lr": 1e-12, "optimizer": "sgd"},
        suppression={"layer": layer},
    )
    (result,) = fit(config, device="cpu", threads=1)
    difference = result.metrics[CHANNEL_PURITY] - result.metrics[PURITY_ABOVE_CHANCE]
    assert difference == pytest.approx(chance_purity(6, 1, law), abs=1e-9)
    assert result.metrics[PURITY_ABOVE_CHANCE] == pytest.approx(0, abs=0.07), "32 channels of a decoder, one draw"


class OneHot(nn.Module):
    """An encoder of one feature: which of the three colours a pixel has, [B,3,H,W] of zeros and ones."""

    def forward(self, images_B3HW: Tensor) -> list[Tensor]:
        return [(images_B3HW > 0).float()]


class Last(nn.Module):
    def forward(self, features: list[Tensor]) -> Tensor:
        return features[-1]


def colour_model(weight_CK: Tensor, bias_C: Tensor, mechanism: ChannelMechanism) -> Segmenter:
    """Channel k is 1 where colour k is, the block is the mechanism alone, the classifier is given."""
    classes, channels = weight_CK.shape
    classifier = nn.Conv2d(channels, classes, kernel_size=1)
    block = SuppressionBlock(channels, classes, mechanism, "none", "classifier")
    block.mix.norm.eps = 0.0
    with torch.no_grad():
        classifier.weight.copy_(weight_CK[:, :, None, None])
        classifier.bias.copy_(bias_C)  # type: ignore[union-attr]
        block.mix.conv.weight.copy_(torch.eye(channels)[:, :, None, None])
    return Segmenter(OneHot(), Last(), classifier, nn.Identity(), {"decoder": block}, {}).eval()


def colour_images(labels_BHW: Tensor) -> Tensor:
    """Bytes [B,3,H,W], pure colour z on the pixels of class z."""
    return (nn.functional.one_hot(labels_BHW.clamp_max(2), 3) * 255).byte().permute(0, 3, 1, 2)


STRIPES_BHW = torch.arange(3).repeat(2, 4, 4)  # 4 rows of 0 1 2 0 1 2 ..., twice


def test_effects_where_suppression_provably_works() -> None:
    """W = 6 I: class z has channel z for itself, and dropping it shuts that channel.

    With every class kept g = 6/3 and the logit of the right class is 12; with z dropped g_z = 0 and its pixels have
    equal logits; the other classes have g = 6/2 and stay right.
    """
    model = colour_model(6 * torch.eye(3), torch.zeros(3), Gate(name="gate"))
    found = effects(model, CPU, colour_images(STRIPES_BHW), STRIPES_BHW)
    assert found[KEPT_PROBABILITY] == pytest.approx(math.exp(12) / (math.exp(12) + 2), abs=1e-6)
    assert found[DROPPED_PROBABILITY] == pytest.approx(1 / 3, abs=1e-6)
    assert found[COLLATERAL] == 0


@pytest.mark.parametrize("mechanism", [Hard(name="hard", q=0.33), Projection(name="projection")])
def test_other_mechanisms_work_there_too(mechanism: ChannelMechanism) -> None:
    """Without a gate the logit of the right class is 6, and 0 once its channel is gone."""
    model = colour_model(6 * torch.eye(3), torch.zeros(3), mechanism)
    found = effects(model, CPU, colour_images(STRIPES_BHW), STRIPES_BHW)
    assert found[KEPT_PROBABILITY] == pytest.approx(math.exp(6) / (math.exp(6) + 2), abs=1e-6)
    assert found[DROPPED_PROBABILITY] == pytest.approx(1 / 3, abs=1e-5)
    assert found[COLLATERAL] == 0


def test_suppression_of_every_channel_costs_the_others() -> None:
    """All channels are masked and the bias speaks for class 0: dropping 1 or 2 costs the other one, not class 0.

    Two of the three drops leave one of two labelled classes without IoU (class 0, predicted everywhere, has IoU 1/2);
    the drop of class 0 leaves none of two.
    """
    model = colour_model(6 * torch.eye(3), torch.tensor([0.1, 0.0, 0.0]), Hard(name="hard", q=0.99))
    found = effects(model, CPU, colour_images(STRIPES_BHW), STRIPES_BHW)
    assert found[COLLATERAL] == pytest.approx(((1 - 0) + 2 * (1 - (1 / 2 + 0) / 2)) / 3)
    one, zero = math.exp(0.1), 1.0
    assert found[DROPPED_PROBABILITY] == pytest.approx((one + 2 * zero) / (one + 2 * zero) / 3, abs=1e-6)


def test_effects_look_at_present_classes_and_labelled_pixels_alone() -> None:
    model = colour_model(6 * torch.eye(3), torch.zeros(3), Gate(name="gate"))
    labels_BHW = STRIPES_BHW.clone()
    labels_BHW[labels_BHW == 2] = IGNORE_INDEX
    whole, part = (effects(model, CPU, colour_images(STRIPES_BHW), labels) for labels in (STRIPES_BHW, labels_BHW))
    assert part == pytest.approx(whole)
    nothing = effects(model, CPU, colour_images(STRIPES_BHW), torch.full_like(STRIPES_BHW, IGNORE_INDEX))
    assert all(math.isnan(value) for value in nothing.values())
    one = effects(model, CPU, colour_images(STRIPES_BHW * 0), STRIPES_BHW * 0)
    assert one[DROPPED_PROBABILITY] == pytest.approx(1 / 3, abs=1e-6)
    assert math.isnan(one[COLLATERAL]), "there is no other class"


def test_diagnose_leaves_out_what_is_undefined() -> None:
    model = colour_model(6 * torch.eye(3), torch.zeros(3), Gate(name="gate"))
    images_B3HW = colour_images(STRIPES_BHW)
    found = diagnose(model, CPU, HeldFrames(images_B3HW, STRIPES_BHW.byte()), most_images=8)
    cosines = {WEIGHT_COSINE, WEIGHT_COSINE_FREQUENT}  # no class is rare
    purity = {*cosines, CHANNEL_PURITY, PURITY_ABOVE_CHANCE}
    assert set(found) == purity | {KEPT_PROBABILITY, DROPPED_PROBABILITY, COLLATERAL}
    assert (found[WEIGHT_COSINE], found[CHANNEL_PURITY]) == (0, 1)
    ignored = torch.full_like(STRIPES_BHW, IGNORE_INDEX).byte()
    assert set(diagnose(model, CPU, HeldFrames(images_B3HW, ignored), 8)) == purity
    plain = Segmenter(model.encoder, model.decoder, model.classifier, model.upsample, {}, {})
    assert set(diagnose(plain, CPU, HeldFrames(images_B3HW, STRIPES_BHW.byte()), 8)) == cosines


def test_diagnose_changes_no_weight_statistic_or_random_state() -> None:
    torch.manual_seed(0)
    suppression = SuppressionConfig(layer="encoder.3", mechanism=RandomChannels(name="random_channels"))
    model = build_model(ModelConfig(arch="linknet", encoder="tu-test_resnet", encoder_weights=None), 6, suppression)
    before, random_state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    images_B3HW = torch.randint(256, (3, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte()
    diagnose(model, CPU, HeldFrames(images_B3HW, torch.arange(6).repeat(3, 32, 6)[..., :32].byte()), 8)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) if isinstance(value, Tensor) else value == before[name], name
    assert torch.equal(torch.get_rng_state(), random_state)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 1.0, 5.0, 60.0]), st.floats(0, 0.9))
def test_ece_equals_torchmetrics(seed: int, scale: float, ignored: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    reference = MulticlassCalibrationError(5, n_bins=BINS, norm="l1", ignore_index=IGNORE_INDEX)
    ours = Calibration(torch.device("cpu"))
    for batch in (2, 1):  # streamed
        logits_BCHW = scale * torch.randn(batch, 5, 6, 7, generator=generator)
        labels_BHW = torch.randint(5, (batch, 6, 7), generator=generator)
        labels_BHW[torch.rand(batch, 6, 7, generator=generator) < ignored] = IGNORE_INDEX
        labels_BHW[0, 0, 0] = 1
        reference.update(logits_BCHW.softmax(dim=1), labels_BHW)
        assert torch.equal(ours.add(logits_BCHW, labels_BHW.byte()), logits_BCHW.argmax(dim=1))
    assert ours.error() == pytest.approx(float(reference.compute()), abs=2e-6)


def test_ece_by_hand() -> None:
    """Two classes, confidences 0.9 (three pixels, one right) and 1.0 (one, right), one ignored pixel."""
    ours = Calibration(torch.device("cpu"))
    assert math.isnan(ours.error())
    nine = math.log(9)
    logits_1C1W = torch.tensor([[nine, nine, nine, 200.0, 0.0], [0.0, 0.0, 0.0, 0.0, 50.0]])[None, :, None]
    ours.add(logits_1C1W, torch.tensor([[[0, 1, 1, 0, IGNORE_INDEX]]]))
    assert ours.error() == pytest.approx(3 / 4 * (0.9 - 1 / 3) + 1 / 4 * 0, abs=1e-6)
    nothing = Calibration(torch.device("cpu"))
    nothing.add(logits_1C1W, torch.full((1, 1, 5), IGNORE_INDEX))
    assert math.isnan(nothing.error())


def test_the_clock_sums_spans_and_starts_anew() -> None:
    clock = PartClock(torch.device("cpu"))
    assert clock.seconds() == 0
    for _ in range(2):
        with clock.forward():
            time.sleep(0.01)
    assert clock.seconds() >= 0.02
    assert clock.seconds() == 0


@pytest.mark.parametrize("layer", ["decoder", "encoder.2", ("encoder.3", "decoder"), "branch.2"])
@pytest.mark.parametrize("importance", ["auto", "gradient"])
def test_the_clock_times_both_passes_of_the_suppressed_path(layer: Any, importance: Any) -> None:
    torch.manual_seed(0)
    suppression = SuppressionConfig(layer=layer, importance=importance)
    arch, encoder = ("hrnet", tiny_hrnet.ENCODER) if layer == "branch.2" else ("linknet", "tu-test_resnet")
    model = build_model(ModelConfig(arch=arch, encoder=encoder, encoder_weights=None), 3, suppression)
    clock, begun = PartClock(torch.device("cpu")), time.perf_counter()
    batch = Batch(torch.rand(2, 3, 32, 32), torch.zeros(2, 32, 32).long())
    losses, _ = two_path_losses(model, batch, Drop.of(1, 3), None, clock)
    assert len(clock.spans) == 1, "forward"
    torch.autograd.backward(losses.total(0.5, 10.0))
    assert len(clock.spans) == 2, "and backward"
    assert all(begin < end for begin, end in clock.spans)  # type: ignore[operator]
    assert 0 < clock.seconds() < time.perf_counter() - begun
