"""Feature maps inside encoders: where they are made, and running the rest again from a changed one.

``run`` with an edit is the plain reading of what a suppressed layer is; ``record`` and ``rerun`` must give the same
from less work.
"""

import copy
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests.trainable import tiny_hrnet
from trainable.model.build import build_model
from trainable.model.config import ModelConfig
from trainable.model.segmenter import Segmenter
from trainable.model.stages import Tap, TapError, find_tap, record, rerun, run
from trainable.suppression.config import SuppressionConfig
from trainable.suppression.drop import Drop

STAGES: dict[str, tuple[int, ...]] = {
    "resnet18": (1, 2, 3, 4, 5),
    "vgg11": (1, 2, 3, 4, 5),
    "densenet121": (1, 2, 3, 4, 5),
    "efficientnet-b0": (1, 2, 3, 4, 5),
    "mit_b0": (2, 3, 4, 5),
    "mobileone_s0": (1, 2, 3, 4, 5),
    "tu-convnext_atto": (2, 3, 4, 5),
    "tu-mobilenetv3_small_050": (1, 2, 3, 4, 5),
    "tu-test_resnet": (1, 2, 3, 4, 5),
}
CELLS = [(name, stage) for name, stages in STAGES.items() for stage in stages]


@lru_cache(maxsize=1)
def encoder_of(name: str) -> nn.Module:
    """In float64, so that two orders of the same sums agree closely; shared by the tests of one encoder."""
    torch.manual_seed(0)
    if name != "vgg11":
        encoder: nn.Module = smp.encoders.get_encoder(name, weights=None)
        return encoder.double().eval()
    with torch.device("meta"):  # torchvision fills the 120 million weights of a head that smp then removes
        encoder = smp.encoders.get_encoder(name, weights=None)
    encoder.to_empty(device="cpu")
    for weight in encoder.parameters():
        nn.init.kaiming_normal_(weight) if weight.ndim > 1 else nn.init.zeros_(weight)
    return encoder.double().eval()


def images_of(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def flops_of(compute: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        compute()
    return counter.get_total_flops()


def assert_all_equal(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert len(ours) == len(theirs)
    for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12, msg=lambda m, i=index: f"feature {i}: {m}")


@pytest.mark.parametrize(("name", "stage"), CELLS)
def test_a_rerun_from_the_tape_is_the_whole_pass_with_the_edit(name: str, stage: int) -> None:
    """Features, and gradients of every weight and of what the edit holds."""
    encoder, images_B3HW = encoder_of(name), images_of(1)
    tap = find_tap(encoder, stage)
    with torch.no_grad():
        plain = encoder(images_B3HW)
    scale_K11 = torch.linspace(0.5, 1.5, plain[stage].shape[1], dtype=torch.float64)[:, None, None].requires_grad_()
    sources = [*encoder.parameters(), scale_K11]

    def edit(maps_BKhw: Tensor) -> Tensor:
        return maps_BKhw * scale_K11

    def gradients(features: list[Tensor]) -> list[Tensor | None]:
        score = torch.stack([(f * f.detach().cos()).sum() for f in features if f.requires_grad]).sum()
        return list(torch.autograd.grad(score, sources, allow_unused=True))

    whole = run(encoder, images_B3HW, {tap: edit})
    recorded, tape = record(encoder, tap, images_B3HW)
    assert_all_equal(recorded, plain)
    assert_all_equal([tape.map(tap)], [plain[stage]])
    again = rerun(encoder, tap, tape, images_B3HW, edit(tape.map(tap)), {})
    assert_all_equal(again, whole)
    assert [bool((a != b).any()) for a, b in zip(plain, again, strict=True)] == [
        i >= stage for i in range(len(plain))
    ], "the edit changes its map and all that follow, and nothing before"
    for ours, theirs in zip(gradients(again), gradients(whole), strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9 * float(theirs.abs().max() + 1e-9))


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "mit_b0", "tu-convnext_atto", "tu-mobilenetv3_small_050"])
def test_earlier_stages_are_not_computed_twice(name: str) -> None:
    encoder, images_B3HW = encoder_of(name), images_of(1)
    whole = flops_of(lambda: encoder(images_B3HW))
    again = []
    for stage in STAGES[name]:
        tap = find_tap(encoder, stage)
        assert flops_of(lambda tap=tap: record(encoder, tap, images_B3HW)) == whole
        with torch.no_grad():
            _, tape = record(encoder, tap, images_B3HW)
            changed = tape.map(tap) + 1
        again.append(flops_of(lambda t=tap, p=tape, c=changed: rerun(encoder, t, p, images_B3HW, c, {})))
    assert whole > again[0]
    # vgg's last stage is a pooling: nothing with a weight lies between its last two maps
    assert all(a > b or a == b == 0 for a, b in pairwise(again)), again
    assert again[-1] == 0, "nothing with a weight follows the last map"


def test_a_rerun_calls_the_convolutions_behind_the_map_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """resnet18 has 1 convolution in its stem, then 4, 5, 5 and 5 in its layers."""
    calls: list[nn.Module] = []
    convolve = nn.Conv2d._conv_forward

    def count(conv: nn.Conv2d, *arguments: Any) -> Tensor:
        calls.append(conv)
        return convolve(conv, *arguments)

    encoder, images_B3HW = encoder_of("resnet18"), images_of(1)
    taps = {stage: find_tap(encoder, stage) for stage in STAGES["resnet18"]}
    monkeypatch.setattr(nn.Conv2d, "_conv_forward", count)
    for stage, following in zip(taps, (19, 15, 10, 5, 0), strict=True):
        calls.clear()
        _, tape = record(encoder, taps[stage], images_B3HW)
        assert len(calls) == 20
        first_pass = list(calls)
        calls.clear()
        rerun(encoder, taps[stage], tape, images_B3HW, tape.map(taps[stage]), {})
        assert calls == first_pass[20 - following :]


@pytest.mark.parametrize("name", ["resnet18", "mit_b0", "tu-test_resnet"])
def test_later_maps_are_kept_and_edited_too(name: str) -> None:
    encoder, images_B3HW = encoder_of(name), images_of()
    first, middle, last = (find_tap(encoder, stage) for stage in (2, 4, 5))

    def half(maps_BKhw: Tensor) -> Tensor:
        return maps_BKhw / 2

    def shifted(maps_BKhw: Tensor) -> Tensor:
        return maps_BKhw + 1

    with torch.no_grad():
        plain = encoder(images_B3HW)
        whole = run(encoder, images_B3HW, {first: half, middle: shifted, last: half})
        recorded, tape = record(encoder, first, images_B3HW, [middle, last])
        again = rerun(encoder, first, tape, images_B3HW, half(tape.map(first)), {middle: shifted, last: half})
    assert_all_equal(recorded, plain)
    assert_all_equal([tape.map(tap) for tap in (first, middle, last)], [plain[2], plain[4], plain[5]])
    assert_all_equal(again, whole)


@pytest.mark.parametrize(
    ("name", "stage", "reason"),
    [
        ("mit_b0", 1, "the encoder has no such map; it has encoder.2, encoder.3, encoder.4, encoder.5"),
        ("tu-convnext_atto", 1, "the encoder has no such map; it has encoder.2"),
        ("resnet18", 6, "the encoder has no such map; it has encoder.1"),
        ("resnet18", 0, "the encoder has no such map; it has encoder.1"),
        ("tu-hrnet_w18_small_v2", 3, "the encoder does not run on this map alone"),
        ("dpn68", 2, "the encoder does not run on this map alone"),
    ],
)
def test_a_stage_that_cannot_be_tapped_says_why(name: str, stage: int, reason: str) -> None:
    encoder = encoder_of(name)
    with pytest.raises(TapError) as caught:
        find_tap(encoder, stage)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert patched(encoder) == []


def patched(module: nn.Module) -> list[str]:
    """Modules that carry a forward of their own, or hooks."""
    return [
        name
        for name, part in module.named_modules()
        if "forward" in part.__dict__ or part._forward_hooks or part._forward_pre_hooks
    ]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["tu-test_resnet", "mit_b0"])
def test_finding_leaves_the_encoder_and_the_random_state_as_they_are(name: str, training: bool) -> None:
    encoder = copy.deepcopy(encoder_of(name)).train(training)
    before, random_state = copy.deepcopy(encoder.state_dict()), torch.get_rng_state()
    first = find_tap(encoder, 3)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert find_tap(encoder, 3) == first
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert all(part.training == training for part in encoder.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in encoder.parameters())
    assert patched(encoder) == []


def segmenter(layer: Any, encoder: str = "tu-test_resnet", **suppression: Any) -> Segmenter:
    torch.manual_seed(0)
    hrnet = "branch" in str(layer)
    arch, encoder = ("hrnet", tiny_hrnet.ENCODER) if hrnet else ("linknet", encoder)
    config = ModelConfig(arch=arch, encoder=encoder, encoder_weights=None)
    return build_model(config, 4, SuppressionConfig(layer=layer, **suppression)).double()


LAYERS: list[Any] = [
    "decoder",
    "encoder.1",
    "encoder.3",
    "encoder.5",
    ("encoder.2", "encoder.4"),
    ("encoder.3", "decoder"),
    "branch.1",
    "branch.4",
    ("branch.2", "branch.3", "decoder"),
]


@pytest.mark.parametrize(
    ("encoder", "layer"),
    [*(("tu-test_resnet", layer) for layer in LAYERS), ("mobileone_s0", "encoder.3")],
)
def test_running_statistics_are_those_of_the_suppressed_path(encoder: str, layer: Any) -> None:
    """A training step of both paths leaves what a pass of the suppressed path alone leaves.

    Behind an encoder layer the plain path runs the same modules on another distribution: a mixture would fit neither.
    """
    both = segmenter(layer, encoder).train()
    alone = copy.deepcopy(both)
    initial = copy.deepcopy(both.state_dict())
    for seed in (1, 2):
        images_B3HW = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        plain = both.plain(images_B3HW)
        both.suppressed(plain, None, both.importance(plain))
        alone(images_B3HW)
    ours, theirs = both.state_dict(), alone.state_dict()
    running = [name for name in ours if name.endswith(("running_mean", "running_var"))]
    for name in running:
        torch.testing.assert_close(ours[name], theirs[name], msg=lambda m, name=name: f"{name}: {m}")
    still = [name for name in running if torch.equal(ours[name], initial[name])]
    assert still == [], "every statistic has been learned"
    norms = zip(both.modules(), alone.modules(), strict=True)
    assert all(a.momentum == b.momentum for a, b in norms if isinstance(a, nn.BatchNorm2d))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_the_suppressed_path_with_every_class_kept_is_the_prediction(layer: Any, training: bool) -> None:
    model, images_B3HW = segmenter(layer).train(training), images_of()
    with torch.no_grad():
        plain = model.plain(images_B3HW)
        logits_BChw = model.suppressed(plain, None, model.importance())
        torch.testing.assert_close(model.upsample(logits_BChw), model(images_B3HW))
        nothing_dropped = Drop(torch.ones(1, 4, dtype=torch.float64))
        torch.testing.assert_close(model.suppressed(plain, nothing_dropped, model.importance()), logits_BChw)
        dropped_BChw = model.suppressed(plain, Drop.of(1, 4), model.importance())
    assert not torch.allclose(dropped_BChw, logits_BChw)


class Broken(Exception):
    pass


@pytest.mark.parametrize("layer", LAYERS)
def test_no_patched_forward_is_left_behind(layer: Any) -> None:
    model, images_B3HW = segmenter(layer).train(), images_of()
    whole = copy.deepcopy(model.state_dict())
    plain = model.plain(images_B3HW)
    model.suppressed(plain, Drop.of(1, 4), model.importance(plain))
    model(images_B3HW)
    assert patched(model) == []
    momenta = [m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)]

    def fail(*_: Any) -> None:
        raise Broken

    # a module of the block, one of the encoder before or after the layer, and one of the decoder
    within = model.encoder.model.stage4 if "branch" in str(layer) else model.encoder.model.layer3
    for broken in (model.block(model.layers[0]).mix, within, model.decoder):
        handle = broken.register_forward_pre_hook(fail)
        for attempt in (
            lambda: model(images_B3HW),
            lambda: model.suppressed(model.plain(images_B3HW), None, model.importance()),
        ):
            with pytest.raises(Broken):
                attempt()
        handle.remove()
        assert patched(model) == []
        assert [m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)] == momenta
    with pytest.raises(RuntimeError):
        model(images_B3HW[:, :2])
    assert patched(model) == []
    model.load_state_dict(whole)  # and the model works as before
    torch.testing.assert_close(model.plain(images_B3HW).logits_BChw, plain.logits_BChw)


def test_a_tape_of_another_path_is_refused() -> None:
    """Calls that come in another order than those that were seen must not be filled with the wrong outputs."""
    encoder, images_B3HW = encoder_of("tu-test_resnet"), images_of(1)
    tap = find_tap(encoder, 3)
    assert isinstance(tap, Tap)
    wrong = Tap(tap.stage, tap.producer, tap.channels_last, tap.before[::-1], tap.after)
    with torch.no_grad():
        with pytest.raises(RuntimeError, match="the encoder called"):
            record(encoder, wrong, images_B3HW)
        _, tape = record(encoder, tap, images_B3HW)
        with pytest.raises(RuntimeError, match="out of the order of its first pass"):
            rerun(encoder, wrong, tape, images_B3HW, tape.map(tap), {})
    assert patched(encoder) == []
