"""``suppression.recalibrate``: the block is judged on the statistics of what it normalises; training is the same."""

from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from trainable.config import TrialConfig
from trainable.data.frames import HeldFrames, load_splits
from trainable.data.statistics import train_statistics
from trainable.evaluate.metrics import names
from trainable.model.export import folded
from trainable.train import recalibration, seeds
from trainable.train.compute import choose_compute
from trainable.train.engine import EpochResult, fit, prepare
from trainable.train.epoch import Training
from trainable.train.meter import Meter
from trainable.train.recalibration import recalibrate

LAYERS: list[Any] = ["decoder", "encoder.2", ["encoder.3", "decoder"]]
DATA = {"train_images": 12, "val_images": 3}


def trained(config: TrialConfig) -> tuple[list[float], EpochResult]:
    """Losses of every step, and the last epoch."""
    losses: list[float] = []
    add = Meter.add

    def note(meter: Meter, loss: Tensor, *terms: Any) -> None:
        losses.append(float(loss.detach()))
        add(meter, loss, *terms)

    with mock.patch.object(Meter, "add", note):
        *_, last = fit(config, device="cpu", threads=1)
    return losses, last


def normalised(training: Training, images: list[Tensor]) -> dict[str, list[Tensor]]:
    """Values [N] that the batch norm of each block normalises, by channel: one image at a time, all classes kept."""
    seen: dict[str, list[Tensor]] = {}
    model = training.model.eval()
    handles = [
        block.mix.norm.register_forward_pre_hook(
            lambda _, arguments, name=name: seen.setdefault(name, []).append(arguments[0].double())
        )
        for name, block in model.blocks.items()
    ]
    with torch.no_grad():
        for image_3HW in images:
            model(training.compute.network_input(image_3HW[None]))
    for handle in handles:
        handle.remove()
    return {name: list(torch.cat(maps).movedim(1, 0).flatten(1)) for name, maps in seen.items()}


def assert_fits(training: Training, images: list[Tensor]) -> None:
    for name, channels in normalised(training, images).items():
        norm = training.model.blocks[name].mix.norm
        for k, values_N in enumerate(channels):
            mean = float(values_N.sum()) / len(values_N)
            variance = float(((values_N - mean) ** 2).sum()) / (len(values_N) - 1)
            assert float(norm.running_mean[k]) == pytest.approx(mean, rel=1e-4, abs=1e-6 + 1e-4 * variance**0.5), name
            assert float(norm.running_var[k]) == pytest.approx(variance, rel=1e-4, abs=1e-12), name


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("importance", ["auto", "gradient"])
def test_the_block_is_judged_on_the_statistics_of_what_it_normalises(make_trial, layer: Any, importance: str) -> None:
    """Of several blocks each: a later one sees what the earlier ones make of the image in the evaluation."""
    data = {**DATA, "augment": {"flip": True, "scale": [0.5, 2.0]}}
    evaluation = {"flip": True, "scales": [1.0, 2.0]}
    sections: dict[str, Any] = {"data": data, "evaluation": evaluation, "train": {"batch_size": 5, "epochs": 2}}
    method = {"layer": layer, "importance": importance}
    _, last = trained(make_trial(**sections, suppression={**method, "recalibrate": True}))
    images = list(load_splits(last.training.config.data).train.images)
    assert len(images) < recalibration.IMAGES, "all of them are used"
    assert_fits(last.training, images)
    assert last.metrics[names.RECALIBRATION_SECONDS] > 0
    _, without = trained(make_trial(**sections, suppression=method))
    assert names.RECALIBRATION_SECONDS not in without.metrics
    with pytest.raises(AssertionError):
        assert_fits(without.training, images)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_training_is_the_same_bit_for_bit(make_trial, layer: Any) -> None:
    """And so is all that the trial keeps, but for the statistics of the blocks."""
    method = {"layer": layer, "schedule": "constant", "p_max": 0.5, "sampling": "difficulty"}
    sections: dict[str, Any] = {"data": DATA, "model": {"arch": "deeplabv3plus"}, "train": {"epochs": 3}}  # has dropout
    losses, with_it = trained(make_trial(**sections, suppression={**method, "recalibrate": True}))
    others, without = trained(make_trial(**sections, suppression=method))
    assert losses == others
    assert len(losses) == 3 * 3
    ours, theirs = with_it.state()["model"], without.state()["model"]
    changed = {name for name in ours if isinstance(ours[name], Tensor) and not torch.equal(ours[name], theirs[name])}
    assert changed == {f"{name}.running_{what}" for name in _norms(with_it.training) for what in ("mean", "var")}


def _norms(training: Training) -> list[str]:
    return [f"blocks.{name}.mix.norm" for name in training.model.blocks]


def test_a_checkpoint_and_an_export_hold_the_recomputed_statistics(make_trial) -> None:
    _, last = trained(make_trial(data=DATA, suppression={"recalibrate": True}))
    kept = {name: value.clone() for name, value in last.state()["model"].items() if "running" in name}
    training = last.training
    recalibrate(training, load_splits(training.config.data).train)  # again: nothing is left to change
    assert all(torch.equal(kept[name], training.model.state_dict()[name]) for name in kept)
    images_B3HW = training.compute.network_input(load_splits(training.config.data).val.images)
    with torch.no_grad():
        exported = folded(training.model, training.config.model)(images_B3HW)
        torch.testing.assert_close(exported, training.model.eval()(images_B3HW), rtol=1e-4, atol=1e-5)


def prepared(config: TrialConfig) -> Training:
    return prepare(config, choose_compute("cpu", "fp32"), config.data.train_images, train_statistics(config.data))


def test_the_images_follow_from_the_seed_alone(make_trial) -> None:
    """Some of many; and a part of the data alone decides nothing where an image is not drawn."""
    config = make_trial(data={"train_images": 60, "val_images": 1}, suppression={"recalibrate": True})
    frames = load_splits(config.data).train
    order = torch.randperm(60, generator=seeds.generator(config.seed, "recalibration", 0))
    drawn, rest = order[: recalibration.IMAGES], order[recalibration.IMAGES :]
    training = prepared(config)
    recalibrate(training, frames)
    assert_fits(training, list(frames.images[drawn]))
    first = training.model.block("decoder").mix.norm.running_var.clone()
    images = frames.images.clone()
    images[rest] = 0
    recalibrate(training, HeldFrames(images, frames.labels))
    assert torch.equal(training.model.block("decoder").mix.norm.running_var, first)
    other = prepared(config.model_copy(update={"seed": 1}))
    recalibrate(other, frames)
    with pytest.raises(AssertionError):
        assert_fits(other, list(frames.images[drawn]))


def test_windows_are_cut_as_the_evaluation_cuts_them(make_trial) -> None:
    data = {"size": [32, 64], "train_images": 4, "val_images": 1}
    config = make_trial(data=data, evaluation={"window": [32, 32], "overlap": 0.0}, suppression={"recalibrate": True})
    training, frames = prepared(config), load_splits(config.data).train
    recalibrate(training, frames)
    assert_fits(training, [half for image in frames.images for half in image.split(32, dim=-1)])


def test_the_momentum_of_the_block_is_that_of_its_batch_norm_alone(make_trial) -> None:
    quick, official = (prepared(make_trial(suppression=method)).model for method in ({"norm_momentum": 0.3}, {}))
    assert quick.block("decoder").mix.norm.momentum == 0.3
    assert official.block("decoder").mix.norm.momentum == 0.01
    for model in (quick, official):
        assert {norm.momentum for norm in model.encoder.modules() if isinstance(norm, torch.nn.BatchNorm2d)} == {0.1}
