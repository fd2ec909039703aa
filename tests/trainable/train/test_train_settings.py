"""Warm-up, a rate of the encoder's own, and clipped gradients: each alone does what it says, and nothing by default."""

import io
import json
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from trainable.config import TrialConfig
from trainable.data.errors import DataError
from trainable.data.frames import load_splits
from trainable.data.statistics import train_statistics
from trainable.evaluate.metrics.names import LR
from trainable.optim.build import build_optimizer, build_schedule
from trainable.optim.config import TrainConfig
from trainable.train.compute import choose_compute
from trainable.train.engine import fit, prepare
from trainable.train.epoch import train_epoch

SGD = {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0}
STEP = {"epochs": 1, "batch_size": 12, "lr": 0.1, "optimizer": SGD, "poly_power": 0.0}
"""One step, of which nothing but the gradient and the rate decides the length."""


def rates(steps: int, per_epoch: int, **settings: Any) -> list[float]:
    train = TrainConfig(epochs=steps // per_epoch, batch_size=1, lr=0.1, **settings)
    optimizer = build_optimizer(train, [nn.Parameter(torch.ones(1))])
    schedule, found = build_schedule(train, optimizer, per_epoch), []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


def moved(config: TrialConfig) -> dict[str, Tensor]:
    """How far each weight goes in one step."""
    statistics = train_statistics(config.data)
    training = prepare(config, choose_compute("cpu", "fp32"), config.data.train_images, statistics)
    before = {name: value.detach().clone() for name, value in training.model.named_parameters()}
    train_epoch(training, load_splits(config.data).train, 1, limit=1)
    return {name: value.detach() - before[name] for name, value in training.model.named_parameters()}


@pytest.mark.parametrize(
    ("settings", "factors"),
    [
        ({"warmup_steps": 4}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ({"warmup_epochs": 2}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ({"warmup_epochs": 1.5}, [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1]),
        ({"warmup_steps": 1}, [1] * 8),
        ({"warmup_epochs": 0.1}, [1] * 8),  # rounds to no step
        ({"warmup_steps": 7}, [1 / 7, 2 / 7, 3 / 7, 4 / 7, 5 / 7, 6 / 7, 1, 1]),
        ({}, [1] * 8),
    ],
)
def test_a_warm_up_rises_linearly_to_the_schedule(settings: dict[str, Any], factors: list[float]) -> None:
    """Four epochs of two steps; the schedule goes on beneath the warm-up."""
    poly = [0.1 * (1 - step / 8) ** 0.9 for step in range(8)]
    assert rates(8, 2, **settings) == pytest.approx([f * rate for f, rate in zip(factors, poly, strict=True)])
    assert rates(8, 2, poly_power=0.0, **settings) == pytest.approx([0.1 * factor for factor in factors])


def test_the_reported_rate_is_that_of_all_but_the_encoder(make_trial) -> None:
    train = {**STEP, "epochs": 3, "warmup_epochs": 2, "encoder_lr_factor": 0.5}
    results = [dict(result.metrics) for result in fit(make_trial(train=train), device="cpu", threads=1)]
    assert [metrics[LR] for metrics in results] == pytest.approx([0.05, 0.1, 0.1])


@pytest.mark.parametrize("factor", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("layer", ["decoder", "encoder.3"])
def test_the_encoder_has_a_rate_of_its_own(make_trial, factor: float, layer: str) -> None:
    """The block of an encoder stage is no part of the encoder."""
    trials = [make_trial(train={**STEP, **extra}, suppression={"layer": layer, "loss_ramp": "constant"})
              for extra in ({}, {"encoder_lr_factor": factor})]  # fmt: skip
    usual, own = map(moved, trials)
    assert sum(bool(step.any()) for name, step in usual.items() if name.startswith("encoder.")) > 10, "it moves"
    for name, step in own.items():
        expected = factor * usual[name] if name.startswith("encoder.") else usual[name]
        torch.testing.assert_close(step, expected, rtol=1e-2, atol=1e-6, msg=name)
    assert factor or not any(step.any() for name, step in own.items() if name.startswith("encoder."))


def test_a_long_gradient_is_shortened_and_a_short_one_is_not(make_trial) -> None:
    usual, tight, loose = (moved(make_trial(train={**STEP, **extra}))
                           for extra in ({}, {"clip_norm": 0.01}, {"clip_norm": 1e6}))  # fmt: skip
    assert length(usual) > 0.1 * 0.01
    assert length(tight) == pytest.approx(0.1 * 0.01, rel=1e-3)
    for name, step in tight.items():
        torch.testing.assert_close(step, usual[name] * (length(tight) / length(usual)), rtol=1e-2, atol=1e-7, msg=name)
    assert all(torch.equal(loose[name], usual[name]) for name in usual)


def length(steps: dict[str, Tensor]) -> float:
    return float(torch.cat([step.flatten() for step in steps.values()]).double().norm())


@pytest.mark.parametrize("suppression", [None, {"layer": ["encoder.3", "decoder"], "schedule": "constant"}])
def test_a_trial_with_all_of_them_resumes_bit_for_bit(make_trial, suppression: dict[str, Any] | None) -> None:
    """From the middle of its warm-up."""
    train = {"epochs": 3, "batch_size": 4, "warmup_steps": 5, "encoder_lr_factor": 0.1, "clip_norm": 0.5}
    config = make_trial(train=train, suppression=suppression)
    states, metrics = [], []
    for result in fit(config, device="cpu", threads=1):
        saved = io.BytesIO()
        torch.save(result.state(), saved)
        states.append(saved.getvalue())
        metrics.append(_repeating(result.metrics))
    torch.manual_seed(5)
    begun = torch.load(io.BytesIO(states[0]), weights_only=True)
    again = []
    for result in fit(config, device="cpu", threads=1, resume_from=begun):
        again.append(_repeating(result.metrics))
        saved = io.BytesIO()
        torch.save(result.state(), saved)
    assert again == metrics[1:]
    assert saved.getvalue() == states[-1]


def _repeating(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.endswith("_seconds")}


def test_defaults_are_left_out_of_what_is_kept(make_trial) -> None:
    """Trials that older versions kept stay equal to those of today."""
    dumped = make_trial().train.model_dump(mode="json")
    assert not {"warmup_epochs", "warmup_steps", "encoder_lr_factor", "clip_norm"} & set(dumped)
    written = {"warmup_epochs": 0.5, "encoder_lr_factor": 0.1, "clip_norm": 1.0}
    config = make_trial(train=written)
    assert written.items() <= config.train.model_dump(mode="json").items()
    assert TrialConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("train", "rule"),
    [
        ({"warmup_epochs": 1, "warmup_steps": 5}, "train.warmup_steps: write warmup_epochs or warmup_steps, not both"),
        ({"warmup_epochs": 2}, "train.warmup_epochs: must be below train.epochs (2), got 2"),
        ({"warmup_epochs": -1}, "greater than or equal to 0"),
        ({"warmup_steps": 1.5}, "valid integer"),
        ({"clip_norm": 0}, "greater than 0"),
        ({"encoder_lr_factor": -0.1}, "greater than or equal to 0"),
        ({"loss": "focall"}, "does not match any of the expected tags: 'ce', 'ohem', 'focal', 'dice', 'lovasz'"),
        ({"loss": {"name": "ohem", "min_kept": 131072}}, "less than or equal to 1"),
        (
            {"loss": {"name": "dice", "ce": 0}, "class_weights": "log_frequency"},
            "train.class_weights: weigh the cross-entropy, of which dice has none; give train.loss.ce a weight above 0",
        ),
    ],
)
def test_bad_values_are_refused_with_the_rule(make_trial, train: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValidationError) as caught:
        make_trial(train=train)
    assert rule in str(caught.value)


def test_a_warm_up_as_long_as_the_training_is_refused_before_its_first_step(make_trial) -> None:
    config = make_trial(train={"warmup_steps": 6})
    with pytest.raises(DataError) as caught:
        next(fit(config, device="cpu"))
    told = "train.warmup_steps: must be below the 6 steps of the training (2 epochs of 3 steps), got 6"
    assert str(caught.value) == told
    assert json.loads(config.model_dump_json())["train"]["warmup_steps"] == 6
    next(fit(make_trial(train={"warmup_steps": 5}), device="cpu"))
