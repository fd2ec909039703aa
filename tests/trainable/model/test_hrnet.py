"""The paper's network against a slow forward in numpy, written from its description; its branches as layers."""

from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests.trainable import tiny_hrnet
from trainable.model.build import build_model
from trainable.model.config import ModelConfig
from trainable.model.hrnet import branch_tap
from trainable.model.segmenter import Segmenter
from trainable.model.stages import find_tap, record, rerun, run
from trainable.suppression.config import SuppressionConfig
from trainable.suppression.drop import Drop

Array = np.ndarray[Any, Any]


def hrnet(
    encoder: str = tiny_hrnet.ENCODER, classes: int = 5, suppression: SuppressionConfig | None = None
) -> Segmenter:
    torch.manual_seed(0)
    model = build_model(ModelConfig(arch="hrnet", encoder=encoder, encoder_weights=None), classes, suppression)
    for module in model.modules():  # their initial values would hide a mistake
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.5)
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.1)
    return model.double()


def images_of(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 64, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def raw_branches(model: Segmenter, images_B3HW: Tensor) -> list[Array]:
    """Of timm's whole classification network, which has no feature taps, from its own steps up to the last stage."""
    whole = timm.create_model("hrnet_w18_small").double().train(model.training)
    missing, unexpected = whole.load_state_dict(model.encoder.model.state_dict(), strict=False)
    assert unexpected == []
    assert {key.partition(".")[0] for key in missing} == {
        "incre_modules", "downsamp_modules", "final_layer", "classifier",
    }  # fmt: skip
    with torch.no_grad():
        stem = whole.act2(whole.bn2(whole.conv2(whole.act1(whole.bn1(whole.conv1(images_B3HW))))))
        return [branch.numpy() for branch in whole.stages(stem)]


def resized(maps_BKhw: Array, height: int, width: int) -> Array:
    """Bilinear with align_corners=False: the centre of pixel i lies at (i + 1/2) x old / new - 1/2."""

    def along(axis: int, new: int, values: Array) -> Array:
        old = values.shape[axis]
        at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, None)
        low = np.floor(at).astype(int)
        share = (at - low).reshape([-1 if i == axis else 1 for i in range(4)])
        high = np.minimum(low + 1, old - 1)
        mixed: Array = values.take(low, axis) * (1 - share) + values.take(high, axis) * share
        return mixed

    return along(3, width, along(2, height, maps_BKhw))


def conv1x1(conv: nn.Conv2d, maps_BKhw: Array, gate_K: Array | None = None) -> Array:
    weight_OK = conv.weight.detach().numpy()[:, :, 0, 0] * (1 if gate_K is None else gate_K)
    mixed: Array = np.einsum("ok,bkhw->bohw", weight_OK, maps_BKhw)
    assert conv.bias is not None
    return mixed + conv.bias.detach().numpy()[:, None, None]


def norm_relu(norm: nn.BatchNorm2d, maps_BKhw: Array) -> Array:
    """Batch statistics in training, running ones in evaluation."""
    mean_K, var_K = norm.running_mean.numpy(), norm.running_var.numpy()  # type: ignore[union-attr]
    if norm.training:
        mean_K, var_K = maps_BKhw.mean(axis=(0, 2, 3)), maps_BKhw.var(axis=(0, 2, 3))
    scale_K = norm.weight.detach().numpy() / np.sqrt(var_K + norm.eps)
    shift_K = norm.bias.detach().numpy() - mean_K * scale_K
    changed: Array = np.maximum(maps_BKhw * scale_K[:, None, None] + shift_K[:, None, None], 0)
    return changed


def suppress(model: Segmenter, layer: Any, maps_BKhw: Array, keep_C: Array) -> Array:
    """The gate and ReLU(BN(Conv1x1(A * g))), with the gate as it is, not normalised."""
    block = model.block(layer)
    source = model.classifier if block.auxiliary is None else block.auxiliary
    importance_CK = source.weight.detach().numpy()[:, :, 0, 0]
    gate_K = np.maximum(keep_C[:, None] * importance_CK, 0).sum(axis=0) / keep_C.sum()
    return norm_relu(block.mix.norm, conv1x1(block.mix.conv, maps_BKhw, gate_K))


def slow_logits(model: Segmenter, branches: list[Array], keep_C: Array | None) -> Array:
    """At stride 4; ``keep_C`` None is the plain path."""
    maps = [
        suppress(model, f"branch.{k}", branch, keep_C)
        if keep_C is not None and f"branch.{k}" in model.layers
        else branch
        for k, branch in enumerate(branches, start=1)
    ]
    height, width = maps[0].shape[2:]
    stacked_BKhw = np.concatenate([resized(branch, height, width) for branch in maps], axis=1)
    conv, norm, _ = model.decoder.mix
    mixed_BKhw = norm_relu(norm, conv1x1(conv, stacked_BKhw))
    if keep_C is not None and "decoder" in model.layers:
        mixed_BKhw = suppress(model, "decoder", mixed_BKhw, keep_C)
    return conv1x1(model.classifier, mixed_BKhw)


@pytest.mark.parametrize(
    ("encoder", "channels", "parameters"),
    [("tu-hrnet_w18_small", (16, 32, 64, 128), 1_540_819), ("tu-hrnet_w18_small_v2", (18, 36, 72, 144), 3_939_579)],
)
def test_the_network_is_the_published_one(encoder: str, channels: tuple[int, ...], parameters: int) -> None:
    model = build_model(ModelConfig(arch="hrnet", encoder=encoder, encoder_weights=None), 19, None)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert model.classifier.weight.shape == (19, sum(channels), 1, 1)
    assert {m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {0.01}
    features = model.eval().encoder(torch.zeros(1, 3, 64, 96))
    assert [tuple(feature.shape[1:]) for feature in features[1:]] == [
        (64, 32, 48), *((width, 64 // 2**k, 96 // 2**k) for k, width in enumerate(channels, start=2))
    ]  # fmt: skip


@pytest.mark.parametrize("encoder", ["tu-hrnet_w18_small", "tu-hrnet_w18_small_v2"])
def test_the_prediction_is_that_of_the_slow_forward(encoder: str) -> None:
    model, images_B3HW = hrnet(encoder).eval(), images_of()
    branches = [feature.detach().numpy() for feature in model.encoder(images_B3HW)[2:]]
    logits_BCHW = resized(slow_logits(model, branches, None), 64, 96)
    with torch.no_grad():
        np.testing.assert_allclose(model(images_B3HW).numpy(), logits_BCHW, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_branches_pass_through_no_part_of_timms_head(training: bool) -> None:
    model, images_B3HW = hrnet("tu-hrnet_w18_small").train(training), images_of()
    expected = raw_branches(model, images_B3HW)
    with torch.no_grad():
        for ours, theirs in zip(model.encoder(images_B3HW)[2:], expected, strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-10, atol=1e-10)


LAYERS: list[Any] = ["decoder", "branch.1", "branch.4", ("branch.2", "branch.3"), ("branch.3", "decoder")]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_both_paths_are_those_of_the_slow_forward(layer: Any, training: bool) -> None:
    """In training with the statistics of the batch; a class is dropped, and none."""
    model = hrnet(suppression=SuppressionConfig(layer=layer)).train(training)
    images_B3HW = images_of()
    with torch.no_grad():
        branches = [feature.numpy() for feature in model.encoder(images_B3HW)[2:]]
        plain = model.plain(images_B3HW)
        np.testing.assert_allclose(plain.logits_BChw, slow_logits(model, branches, None), rtol=1e-5, atol=1e-5)
        for drop, keep_C in ((None, np.ones(5)), (Drop.of(2, 5), np.array([1.0, 1, 0, 1, 1]))):
            ours_BChw = model.suppressed(plain, drop, model.importance()).numpy()
            np.testing.assert_allclose(ours_BChw, slow_logits(model, branches, keep_C), rtol=1e-5, atol=1e-5)
        whole_BCHW = resized(slow_logits(model, branches, np.ones(5)), 64, 96)
        np.testing.assert_allclose(model(images_B3HW).numpy(), whole_BCHW, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("branch", [1, 2, 3, 4])
def test_a_branch_is_changed_alone_and_without_another_pass(branch: int) -> None:
    encoder, images_B3HW, tap = hrnet().eval().encoder, images_of(), branch_tap(branch)

    def shifted(maps_BKhw: Tensor) -> Tensor:
        return maps_BKhw + 1

    with torch.no_grad():
        plain = encoder(images_B3HW)
        whole = run(encoder, images_B3HW, {tap: shifted})
        recorded, tape = record(encoder, tap, images_B3HW)
        with FlopCounterMode(display=False) as counter:
            again = rerun(encoder, tap, tape, images_B3HW, shifted(tape.map(tap)), {})
    assert counter.get_total_flops() == 0
    assert [torch.equal(a, b) for a, b in zip(plain, whole, strict=True)] == [i != branch + 1 for i in range(6)]
    assert torch.equal(whole[branch + 1], plain[branch + 1] + 1)
    for ours, theirs in zip((*again, *recorded), (*whole, *plain), strict=True):
        assert torch.equal(ours, theirs)
    assert set(tap.before) | {tap.producer} | tap.after == {"model", *(f"branches.{k}" for k in range(4))}


def test_the_last_branch_is_where_a_tap_is_found_by_itself() -> None:
    """`find_tap` asks that all later features change too, which holds for the last one: it finds what is written."""
    assert find_tap(hrnet().encoder, 5) == branch_tap(4)
