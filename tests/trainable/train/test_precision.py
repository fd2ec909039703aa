"""Precisions: what auto chooses, scaled gradients in float16 and skipped steps, TF32 for the time of a trial."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from trainable.data.frames import load_splits
from trainable.data.statistics import train_statistics
from trainable.evaluate.metrics import names
from trainable.failure import TrialFailed
from trainable.optim.build import build_optimizer
from trainable.optim.config import TrainConfig
from trainable.train import scaling
from trainable.train.checkpoint import from_bytes, to_bytes
from trainable.train.compute import Compute, choose_compute
from trainable.train.engine import EpochResult, fit, prepare
from trainable.train.epoch import Training, train_epoch
from trainable.train.scaling import build_scaler, update_weights

CPU = torch.device("cpu")
SUPPRESSION = {"gate_norm": "mean", "alpha": 1.0, "schedule": "constant", "loss_ramp": "constant"}


def gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], name: str = "Tesla V100-SXM2-16GB") -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device=None: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device=None: name)


@pytest.mark.parametrize(
    ("capability", "chosen"),
    [((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16"), ((12, 0), "bf16")],
)
def test_auto_takes_bfloat16_where_a_gpu_has_it(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], chosen: str
) -> None:
    gpu(monkeypatch, capability)
    assert choose_compute("cuda", "auto").precision == chosen
    assert choose_compute("cuda:1", "fp32").precision == "fp32"
    assert choose_compute("cuda", "fp16").precision == "fp16"


def test_auto_is_float32_on_a_cpu() -> None:
    assert choose_compute("cpu", "auto").precision == "fp32"
    assert choose_compute("cpu", "bf16").precision == "bf16"


def test_bfloat16_is_refused_where_it_would_be_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(monkeypatch, (7, 0))
    with pytest.raises(TrialFailed) as caught:
        choose_compute("cuda", "bf16")
    told = "train.precision: bf16 needs compute capability 8.0, got Tesla V100-SXM2-16GB (compute capability 7.0)"
    assert str(caught.value) == f"{told}; use fp16 or auto"


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_networks_compute_in_the_precision_and_weights_stay(make_trial, precision: str, dtype: torch.dtype) -> None:
    training = training_in(make_trial(train={"precision": precision}, suppression=SUPPRESSION))
    seen: set[torch.dtype] = set()
    training.model.encoder.register_forward_hook(lambda _, __, maps: seen.update(m.dtype for m in maps[1:]))
    train_epoch(training, load_splits(training.config.data).train, 1, limit=1)
    assert seen == {dtype}
    assert {p.dtype for p in training.model.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in training.model.parameters() if p.grad is not None} == {torch.float32}


def training_in(config) -> Training:
    compute = choose_compute("cpu", config.train.precision)
    return prepare(config, compute, config.data.train_images, train_statistics(config.data))


@pytest.mark.parametrize("suppression", [None, {**SUPPRESSION, "layer": ["encoder.3", "decoder"]}])
def test_float16_trains_as_float32_but_for_its_digits(make_trial, suppression: dict[str, Any] | None) -> None:
    """With the optimizer's momentum, clipping and micro-batches."""
    train = {"epochs": 3, "batch_size": 4, "optimizer": {"name": "sgd"}, "lr": 0.01, "clip_norm": 0.5, "accumulate": 2}
    losses = []
    for precision in ("fp32", "fp16"):
        config = make_trial(data={"size": [64, 64]}, train={**train, "precision": precision}, suppression=suppression)
        losses.append([r.metrics[names.TRAIN_LOSS] for r in fit(config, device="cpu", threads=1)])
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[1] != losses[0]


def scaled(optimizer: dict[str, Any]) -> tuple[nn.Linear, torch.optim.Optimizer, torch.amp.GradScaler]:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    train = TrainConfig(epochs=1, batch_size=1, lr=0.1, optimizer=optimizer)  # type: ignore[arg-type]
    chosen = build_optimizer(train, model.parameters())
    scaler = build_scaler(Compute(CPU, "fp16"), chosen)
    assert scaler is not None
    return model, chosen, scaler


OPTIMIZERS: list[dict[str, Any]] = [
    {"name": "adamw"}, {"name": "sgd"}, {"name": "sgd", "momentum": 0.0}, {"name": "sgd", "weight_decay": 0.1},
]  # fmt: skip


@pytest.mark.parametrize("clip_norm", [None, 0.1])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_skipped_step_changes_nothing_but_the_scale(optimizer: dict[str, Any], clip_norm: float | None) -> None:
    """And the steps after it are those of a trial that never met it."""
    images = torch.randn(5, 3)
    after = []
    for skipped in (True, False):
        model, chosen, scaler = scaled(optimizer)
        before = [p.detach().clone() for p in model.parameters()]
        for factor in (torch.inf, 1.0, 1.0) if skipped else (1.0, 1.0):
            chosen.zero_grad()
            scaling.backward((model(images) ** 2).mean() * factor, scaler)
            update_weights(model, chosen, scaler, clip_norm)
            if factor == torch.inf:
                assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
                assert scaler.get_scale() == 2**15
        after.append([p.detach().clone() for p in model.parameters()])
        assert any(not torch.equal(a, b) for a, b in zip(after[-1], before, strict=True))
    for one, other in zip(*after, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_scaled_step_is_the_step(optimizer: dict[str, Any]) -> None:
    images, after = torch.randn(5, 3), []
    for use in (True, False):
        model, chosen, scaler = scaled(optimizer)
        for _ in range(3):
            chosen.zero_grad()
            scaling.backward((model(images) ** 2).mean(), scaler if use else None)
            update_weights(model, chosen, scaler if use else None, 0.05)
        after.append(model.weight.detach().clone())
    torch.testing.assert_close(*after, rtol=1e-6, atol=1e-7)


def test_the_schedule_counts_skipped_steps(make_trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first steps overflow at a scale of 2^40; their batches are lost, not the end of the schedule."""
    usual = build_scaler

    def huge(compute: Compute, optimizer: torch.optim.Optimizer) -> torch.amp.GradScaler | None:
        return torch.amp.GradScaler("cpu", init_scale=2.0**40) if usual(compute, optimizer) else None

    monkeypatch.setattr("trainable.train.engine.build_scaler", huge)
    training = training_in(make_trial(train={"precision": "fp16", "epochs": 1}))
    before = {name: value.detach().clone() for name, value in training.model.named_parameters()}
    train_epoch(training, load_splits(training.config.data).train, 1)
    assert all(torch.equal(before[name], value) for name, value in training.model.named_parameters())
    assert training.schedule.last_epoch == 3
    assert training.schedule.get_last_lr() == [0.0]
    assert training.scaler is not None
    assert training.scaler.get_scale() == 2.0**37


def test_the_scale_is_in_the_checkpoint_where_there_is_one(make_trial) -> None:
    for precision in ("fp32", "bf16", "fp16"):
        (result,) = fit(make_trial(train={"precision": precision, "epochs": 1}), device="cpu", threads=1)
        state = from_bytes(to_bytes(result.state()))
        assert ("scaler" in state) == (precision == "fp16")
    assert state["scaler"]["scale"] > 0


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_float16_trial_goes_on_bit_for_bit(make_trial, optimizer: str) -> None:
    train = {"precision": "fp16", "epochs": 3, "optimizer": optimizer}
    config = make_trial(train=train, suppression={**SUPPRESSION, "start": 0.4})
    kept = [_state_and_loss(result) for result in fit(config, device="cpu", threads=1)]
    for begun in (0, 1):
        resumed = fit(config, device="cpu", threads=1, resume_from=kept[begun][0])
        again = [_state_and_loss(result) for result in resumed]
        assert [loss for _, loss in again] == [loss for _, loss in kept[begun + 1 :]]
        ours, theirs = (dict(_leaves(each[-1][0])) for each in (again, kept))
        assert list(ours) == list(theirs)
        for place, value in ours.items():
            torch.testing.assert_close(value, theirs[place], rtol=0, atol=0, msg=place)


def _state_and_loss(result: EpochResult) -> tuple[dict[str, Any], float]:
    return from_bytes(to_bytes(result.state())), result.metrics[names.TRAIN_LOSS]


def _leaves(tree: object, place: str = "") -> Iterator[tuple[str, object]]:
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in pairs:
        yield from _leaves(value, f"{place}/{key}")
    if isinstance(tree, torch.Tensor | float | int):
        yield place, torch.as_tensor(tree)


@pytest.mark.parametrize(("before", "after"), [("bf16", "fp16"), ("fp16", "bf16")])
def test_a_trial_goes_on_in_another_precision_as_auto_may_choose(make_trial, before: str, after: str) -> None:
    first = next(fit(make_trial(train={"precision": before}), device="cpu", threads=1))
    state = from_bytes(to_bytes(first.state()))
    (second,) = fit(make_trial(train={"precision": after}), device="cpu", threads=1, resume_from=state)
    assert second.metrics[names.TRAIN_LOSS] > 0
    assert ("scaler" in second.state()) == (after == "fp16")


@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_is_set_for_the_time_of_the_trial(make_trial, allowed: bool) -> None:
    before = torch.backends.cudnn.allow_tf32
    results = fit(make_trial(train={"tf32": allowed}), device="cpu", threads=1)
    next(results)
    assert torch.backends.cudnn.allow_tf32 == allowed
    assert not torch.backends.cuda.matmul.allow_tf32
    results.close()  # type: ignore[attr-defined]
    assert torch.backends.cudnn.allow_tf32 == before


def test_defaults_are_left_out_and_values_kept(make_trial) -> None:
    assert "tf32" not in make_trial().train.model_dump(mode="json")
    kept = make_trial(train={"tf32": False, "precision": "fp16"}).train.model_dump(mode="json")
    assert (kept["tf32"], kept["precision"]) == (False, "fp16")


def test_other_precisions_are_refused_by_name(make_trial) -> None:
    with pytest.raises(ValidationError) as caught:
        make_trial(train={"precision": "float16"})
    assert "'auto', 'fp32', 'bf16' or 'fp16'" in str(caught.value)
    with pytest.raises(ValidationError, match="valid boolean"):
        make_trial(train={"tf32": "yes"})


def test_optimizers_are_fused_where_torch_has_it_and_grouped_elsewhere() -> None:
    train = TrainConfig(epochs=1, batch_size=1)
    for device, form in (("cpu", "fused"), ("meta", "foreach")):
        weights = [nn.Parameter(torch.ones(2, device=device))]
        for parameters in (weights, [{"params": weights}]):
            (group,) = build_optimizer(train, parameters).param_groups
            assert group[form] is True
    assert json.loads(train.model_dump_json())["precision"] == "auto"
