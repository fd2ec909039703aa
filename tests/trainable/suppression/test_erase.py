"""Erasing against the slow reference, and what must hold of it: what the loss sees, its draws, the plain network."""

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import pytest
import reference
import torch
from torch import Tensor

from trainable.config import TrialConfig
from trainable.data.classes import IGNORE_INDEX
from trainable.model.build import build_model
from trainable.model.config import ModelConfig
from trainable.model.export import folded
from trainable.model.segmenter import Segmenter
from trainable.suppression.config import SuppressionConfig
from trainable.suppression.drop import Drop
from trainable.suppression.erase import Erasure
from trainable.suppression.mechanism_sections import Erase
from trainable.suppression.sampling import ClassSampler
from trainable.train.compute import Compute
from trainable.train.engine import fit
from trainable.train.step import Batch, suppressed_losses

CLASSES, BATCH, SIZE = 4, 3, (18, 34)
CPU = torch.device("cpu")
COMPUTE = Compute(CPU)
LEVELS = COMPUTE.levels(10).flatten().tolist()
IMAGES: list[list[int]] = [[1], [], [3, 0]]
BATCHES: list[list[int]] = [[2, 0]] * BATCH

CASES: list[tuple[dict[str, object], tuple[str, ...], list[list[int]]]] = [
    ({"fill": "noise"}, ("input",), IMAGES),
    ({"fill": "mean", "dilate": 1}, ("input", "decoder"), BATCHES),
    ({"fill": "noise"}, ("encoder.1", "encoder.3"), IMAGES),
    ({"fill": "blur"}, ("input", "encoder.2"), IMAGES),
    ({"fill": "swap", "labels": "kept"}, ("input",), BATCHES),
    ({"fill": "swap"}, ("decoder",), IMAGES),
    ({"fill": "none"}, ("input", "encoder.1"), BATCHES),
    ({"mask": "elsewhere", "dilate": 2}, ("input",), IMAGES),
    ({"mask": "blocks", "fill": "mean"}, ("input", "encoder.1"), IMAGES),
]


def batch_of(seed: int) -> Batch:
    """Labels in patches, so that some cells of every map lose more than half of their pixels."""
    generator = torch.Generator().manual_seed(seed)
    images_B3HW = torch.randn(BATCH, 3, *SIZE, generator=generator, dtype=torch.float64)
    coarse = torch.randint(CLASSES, (BATCH, 3, 4), generator=generator)
    labels_BHW = coarse.repeat_interleave(7, dim=1).repeat_interleave(9, dim=2)[:, : SIZE[0], : SIZE[1]].clone()
    labels_BHW[torch.rand(BATCH, *SIZE, generator=generator) < 0.1] = IGNORE_INDEX
    return Batch(images_B3HW, labels_BHW)


def drop_of(dropped: list[list[int]], seed: int) -> Drop:
    keep_BC = torch.tensor([[0.0 if c in classes else 1.0 for c in range(CLASSES)] for classes in dropped])
    return Drop(keep_BC[:1] if dropped is BATCHES else keep_BC, seed=seed)


@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_step_equals_the_slow_reference(number: int, make_model: Callable[..., Segmenter]) -> None:
    erase, layers, dropped = CASES[number]
    reweight: Any = "keep" if number % 2 else "mean"
    config = SuppressionConfig(layer=layers, mechanism={"name": "erase", **erase}, reweight=reweight)  # type: ignore[arg-type]
    assert (config.layers, config.blocks) == (layers, ())
    batch, seed = batch_of(number), 100 + number
    weights = [0.5, 2.0, 1.0, 3.0] if number % 3 else None
    model = make_model(config, CLASSES, 3, seed=number).double()
    weights_C = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    ours = suppressed_losses(deepcopy(model), batch, drop_of(dropped, seed), config, COMPUTE, weights_C)

    mask_BHW = reference.erased_pixels(batch.labels_BHW, dropped, erase, seed)
    labels_BHW = batch.labels_BHW.clone()
    if erase.get("labels") != "kept":
        labels_BHW[mask_BHW] = IGNORE_INDEX
    fill = str(erase.get("fill", "noise"))
    images_B3HW = batch.images_B3HW
    if "input" in layers:
        images_B3HW = reference.erase_in(images_B3HW, mask_BHW, fill, seed, LEVELS)

    def at(layer: str, maps_BKhw: Tensor) -> Tensor:
        return reference.erase_in(maps_BKhw, mask_BHW, fill, seed) if layer in layers else maps_BKhw

    logits_BChw = reference.network(dict(model.named_parameters()), images_B3HW, at)
    expected = reference.cross_entropy(reference.upsample(logits_BChw), labels_BHW, [()] * BATCH, weights)
    if reweight == "keep":
        shares = [sum(1.0 if weights is None else weights[label] for label in labels[labels != IGNORE_INDEX].tolist())
                  for labels in (labels_BHW, batch.labels_BHW)]  # fmt: skip
        expected = expected * shares[0] / shares[1]
    assert ours.predicted is not None
    torch.testing.assert_close(ours.predicted, logits_BChw.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours.total(0.3, 5.0), expected, rtol=1e-10, atol=1e-12)
    assert (ours.suppressed, ours.probability, ours.auxiliary) == (None, None, None)


def test_gradients_equal_those_of_the_slow_reference(make_model: Callable[..., Segmenter]) -> None:
    config = SuppressionConfig(layer=("encoder.2", "decoder"), mechanism={"name": "erase"})  # type: ignore[arg-type]
    model, batch = make_model(config, CLASSES).double(), batch_of(5)
    losses = suppressed_losses(model, batch, drop_of(IMAGES, 9), config, COMPUTE, None)
    mask_BHW = reference.erased_pixels(batch.labels_BHW, IMAGES, {}, 9)
    parameters = dict(model.named_parameters())

    def at(layer: str, maps_BKhw: Tensor) -> Tensor:
        return reference.erase_in(maps_BKhw, mask_BHW, "noise", 9) if layer in config.layers else maps_BKhw

    logits_BChw = reference.network(parameters, batch.images_B3HW, at)
    expected = reference.cross_entropy(reference.upsample(logits_BChw), batch.labels_BHW, IMAGES, None)
    for ours, theirs in zip(
        *(torch.autograd.grad(v, list(parameters.values())) for v in (losses.plain, expected)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


def test_the_noise_of_images_is_that_of_their_levels() -> None:
    assert pytest.approx([10 / 255 / std for std in COMPUTE.normalization.std]) == LEVELS


@pytest.mark.parametrize("fill", ["mean", "noise"])
def test_no_erased_pixel_reaches_the_loss(fill: str, make_model: Callable[..., Segmenter]) -> None:
    """Neither by its label nor by what it holds, but for its share in the image's mean colour."""
    config = SuppressionConfig(layer="input", mechanism={"name": "erase", "fill": fill, "dilate": 1})  # type: ignore[arg-type]
    model, batch, drop = make_model(config, CLASSES).double(), batch_of(1), drop_of(BATCHES, 4)
    erased_BHW = reference.erased_pixels(batch.labels_BHW, BATCHES, {"dilate": 1}, 4)
    images_B3HW, labels_BHW = batch.images_B3HW.clone(), batch.labels_BHW.clone()
    for image_3HW, mask_HW in zip(images_B3HW, erased_BHW, strict=True):
        image_3HW[:, mask_HW] = image_3HW[:, mask_HW].flip(-1)  # the same colours elsewhere in the image
    labels_BHW[erased_BHW & (labels_BHW != 2) & (labels_BHW != 0)] = 3  # rims
    before, after = (
        suppressed_losses(deepcopy(model), one, drop, config, COMPUTE, None).plain
        for one in (batch, Batch(images_B3HW, labels_BHW))
    )
    assert not torch.equal(images_B3HW, batch.images_B3HW)
    torch.testing.assert_close(before, after, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("size", [(18, 34), (7, 5), (64, 64)])
def test_blocks_are_as_many_pixels_in_other_places(size: tuple[int, int]) -> None:
    labels_BHW = torch.randint(CLASSES, (5, *size), generator=torch.Generator().manual_seed(0))
    labels_BHW[0] = 1  # all of an image
    drop = drop_of([[1], [], [0, 2], [3], [1]], 3)
    own, blocks, elsewhere = (
        Erasure.of(Erase.model_validate({"name": "erase", "mask": mask}), labels_BHW, drop).mask_BHW
        for mask in ("class", "blocks", "elsewhere")
    )
    assert torch.equal(own.sum(dim=(1, 2)), blocks.sum(dim=(1, 2)))
    assert own[0].all()
    assert not own[1].any()
    assert not torch.equal(own[2:], blocks[2:])
    assert sorted(own.sum(dim=(1, 2)).tolist()) == sorted(elsewhere.sum(dim=(1, 2)).tolist())
    assert not any(torch.equal(a, b) for a, b in zip(own, elsewhere, strict=True))


# ------------------------------------------------------------------------------------------------------- trials

TRIAL: dict[str, Any] = {
    "data": {"name": "shapes", "size": [32, 32], "train_images": 6, "val_images": 2},
    "model": {"arch": "linknet", "encoder": "tu-test_resnet", "encoder_weights": None},
    "train": {"epochs": 1, "batch_size": 2, "lr": 1e-3, "class_weights": "log_frequency"},
}


def last(suppression: Mapping[str, object] | None) -> Any:
    config = TrialConfig.model_validate_json(json.dumps({**TRIAL, "suppression": suppression}))
    (result,) = fit(config, device="cpu", threads=1)
    return result


@pytest.mark.parametrize("layer", ["input", ["input", "encoder.2", "decoder"]])
def test_without_drops_a_trial_equals_the_plain_one_bit_for_bit(layer: Any) -> None:
    ours, plain = last({"layer": layer, "mechanism": "erase", "p_max": 0.0}), last(None)
    for name, value in plain.training.model.state_dict().items():
        assert torch.equal(value, ours.training.model.state_dict()[name]), name
    same = {name: ours.metrics[name] for name in plain.metrics if not name.endswith("_seconds")}
    assert same == {name: value for name, value in plain.metrics.items() if not name.endswith("_seconds")}
    assert list(plain.training.model.state_dict()) == list(ours.training.model.state_dict())


def test_its_draws_are_those_of_any_other_mechanism(monkeypatch: pytest.MonkeyPatch) -> None:
    drops: list[Drop | None] = []
    draw = ClassSampler.draw

    def spy(sampler: ClassSampler, *arguments: Any) -> Drop | None:
        drops.append(draw(sampler, *arguments))
        return drops[-1]

    monkeypatch.setattr(ClassSampler, "draw", spy)
    common = {"granularity": "image", "sampling": "present", "schedule": "constant", "p_max": 0.6}
    result = last({**common, "layer": "input"})
    last({**common, "layer": "decoder"})
    assert any(drop is not None for drop in drops)
    for ours, theirs in zip(drops[:3], drops[3:], strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            assert ours.seed == theirs.seed
            assert torch.equal(ours.keep_GC, theirs.keep_GC)
    kept, dropped = (result.metrics[f"suppression/p_{what}"] for what in ("kept", "dropped"))
    assert 0 < kept < 1
    assert 0 < dropped < 1
    assert kept != dropped
    assert "suppression/purity" not in result.metrics, "there is no block"


@pytest.mark.parametrize("layer", ["input", "encoder.2"])
def test_evaluation_and_export_are_the_plain_network(layer: Any) -> None:
    config = ModelConfig(arch="linknet", encoder="tu-test_resnet", encoder_weights=None)
    torch.manual_seed(0)
    ours = build_model(config, CLASSES, SuppressionConfig(layer=layer, mechanism={"name": "erase"})).eval()  # type: ignore[arg-type]
    torch.manual_seed(0)
    plain, images_B3HW = build_model(config, CLASSES, None).eval(), torch.rand(2, 3, 32, 32)
    assert torch.equal(ours(images_B3HW), plain(images_B3HW))
    assert torch.equal(folded(ours, config)(images_B3HW), plain(images_B3HW))
    assert list(folded(ours, config).state_dict()) == list(folded(plain, config).state_dict())


def test_in_a_list_the_block_works_on_what_is_left_of_the_image(make_model: Callable[..., Segmenter]) -> None:
    config = SuppressionConfig(layer=("input", "decoder"), gate_norm="mean")
    assert (config.erased, config.blocks) == (("input",), ("decoder",))
    model, batch, drop = make_model(config, CLASSES).double(), batch_of(2), drop_of(BATCHES, 8)
    ours = suppressed_losses(deepcopy(model), batch, drop, config, COMPUTE, None)
    mask_BHW = reference.erased_pixels(batch.labels_BHW, BATCHES, {}, 8)
    left = Batch(
        reference.erase_in(batch.images_B3HW, mask_BHW, "noise", 8, LEVELS),
        batch.labels_BHW.masked_fill(mask_BHW, IGNORE_INDEX),
    )
    alone = SuppressionConfig(layer="decoder", gate_norm="mean")
    theirs = suppressed_losses(deepcopy(model), left, drop, alone, COMPUTE, None)
    for weight in (0.0, 0.4, 1.0):
        torch.testing.assert_close(ours.total(weight, 2.0), theirs.total(weight, 2.0), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("layer", ["decoder", "encoder.2"])
def test_reweight_keep_leaves_the_weight_of_the_other_classes(layer: Any, make_model: Callable[..., Segmenter]) -> None:
    mean, keep = (SuppressionConfig(layer=layer, reweight=how) for how in ("mean", "keep"))  # type: ignore[arg-type]
    model, batch, drop = make_model(mean, CLASSES).double(), batch_of(3), drop_of(BATCHES, 1)
    raised, kept = (suppressed_losses(deepcopy(model), batch, drop, how, COMPUTE, None) for how in (mean, keep))
    labelled = batch.labels_BHW != IGNORE_INDEX
    left = labelled & (batch.labels_BHW != 0) & (batch.labels_BHW != 2)
    assert 0 < left.sum() < labelled.sum()
    torch.testing.assert_close(kept.suppressed, raised.suppressed * left.sum() / labelled.sum())
    assert torch.equal(kept.plain, raised.plain), "the plain path loses no class"
    assert torch.equal(kept.probability, raised.probability)
