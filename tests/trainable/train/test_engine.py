import gc
import math
import time
import weakref
from typing import get_args

import pytest
import torch
from torch import nn

from trainable.config import TrialConfig
from trainable.data.classes import IGNORE_INDEX
from trainable.data.frames import HeldFrames, load_splits
from trainable.data.statistics import ClassStatistics
from trainable.evaluate.metrics import names
from trainable.failure import TrialFailed
from trainable.model.config import Arch
from trainable.model.encoders import ModelError
from trainable.optim.build import build_optimizer, build_schedule, poly_factor
from trainable.optim.config import SGD, AdamW, TrainConfig
from trainable.suppression.loss import PathLosses
from trainable.train.compute import Compute, choose_compute
from trainable.train.engine import EpochResult, fit, prepare
from trainable.train.epoch import Training, index_batches, seeds, train_epoch
from trainable.train.meter import Meter
from trainable.train.probe import probe

SUPPRESSION = {"gate_norm": "mean", "alpha": 1.0, "schedule": "constant", "loss_ramp": "constant"}


def run(config: TrialConfig) -> list[EpochResult]:
    return list(fit(config, device="cpu", threads=1))


def numbers(results: list[EpochResult]) -> list[dict[str, float]]:
    """Everything but wall times."""
    return [{k: v for k, v in result.metrics.items() if not k.endswith("_seconds")} for result in results]


def test_every_epoch_reports_names_from_names_py(make_trial) -> None:
    config = make_trial(suppression=SUPPRESSION)
    first, second = run(config)
    assert (first.epoch, second.epoch) == (1, 2)
    constants = {value for name, value in vars(names).items() if name.isupper()}
    known = constants | set(names.objective_names(config.data))
    assert set(first.metrics) <= known
    assert set(first.metrics) - set(second.metrics) == {names.SETUP_SECONDS}
    assert all(math.isfinite(value) for value in first.metrics.values())
    assert first.metrics[names.TRAIN_DROPPED] == 1
    assert 0 < first.metrics[names.TRAIN_SUPPRESSION] < 1
    assert first.metrics[names.TRAIN_LOSS] > first.metrics[names.TRAIN_SUPPRESSION]
    gap = first.metrics[names.ALIGNED_OBJECT_MIOU] - first.metrics[names.SWAPPED_OBJECT_MIOU]
    assert first.metrics[names.CONTEXT_GAP] == gap
    assert 0 < first.metrics[names.SUPPRESSION_SECONDS] < first.metrics[names.TRAIN_SECONDS]
    assert first.metrics[names.TRAIN_SECONDS] <= first.metrics[names.EPOCH_SECONDS]
    about_suppression = {
        names.TRAIN_SUPPRESSED_CE, names.CHANNEL_PURITY, names.PURITY_ABOVE_CHANCE, names.KEPT_PROBABILITY,
        names.DROPPED_PROBABILITY, names.COLLATERAL, names.SUPPRESSION_SECONDS,
    }  # fmt: skip
    assert about_suppression <= set(first.metrics)
    assert about_suppression.isdisjoint(run(make_trial(train={"epochs": 1}))[0].metrics)


def test_a_plain_trial_suppresses_nothing(make_trial) -> None:
    metrics = run(make_trial(train={"epochs": 1}))[0].metrics
    assert metrics[names.TRAIN_DROPPED] == metrics[names.TRAIN_SUPPRESSION] == 0
    assert metrics[names.TRAIN_LOSS] == metrics[names.TRAIN_CE]


@pytest.mark.parametrize("sampling", [{"name": "present"}, {"name": "inverse_frequency", "tau": 0.5}])
def test_a_cpu_trial_repeats_bit_for_bit_in_one_process(make_trial, sampling: dict[str, object]) -> None:
    """With dropout, augmentation and suppression, whatever happened to the global generators meanwhile."""
    config = make_trial(
        model={"arch": "deeplabv3plus"},
        data={"augment": {"scale": [0.5, 2.0], "flip": True}},
        suppression={**SUPPRESSION, "sampling": sampling, "p_max": 0.5},
    )
    torch.manual_seed(1)
    first = run(config)
    torch.manual_seed(2)
    interrupted = []
    for result in fit(config, device="cpu", threads=1):
        torch.rand(7)  # a caller that draws between epochs
        interrupted.append(result)
    assert numbers(first) == numbers(interrupted)
    other = config.model_copy(update={"seed": -5})
    assert numbers(run(other)) != numbers(first)


@pytest.mark.parametrize("layer", ["decoder", "encoder.2"])
@pytest.mark.parametrize("arch", get_args(Arch))
def test_every_architecture_trains_with_suppression(make_trial, arch: str, layer: str) -> None:
    size, model = 128 if arch == "pan" else 64, {"arch": arch}
    if arch == "hrnet":
        layer, model = layer.replace("encoder", "branch"), {"arch": arch, "encoder": "tu-hrnet_w18_small"}
    config = make_trial(
        data={"size": [size, size], "train_images": 2, "val_images": 1},
        model=model,
        train={"epochs": 1, "batch_size": 2},
        suppression={**SUPPRESSION, "layer": layer},
    )
    (result,) = run(config)
    assert result.metrics[names.TRAIN_DROPPED] == 1
    assert all(math.isfinite(value) for value in result.metrics.values())
    assert (names.TRAIN_AUXILIARY_CE in result.metrics) == (layer != "decoder")


@pytest.mark.parametrize(("arch", "encoder"), [("segformer", "mit_b0"), ("unet", "tu-mobilenetv3_small_050")])
def test_other_encoders_train(make_trial, arch: str, encoder: str) -> None:
    config = make_trial(
        data={"size": [64, 64], "train_images": 2, "val_images": 1},
        model={"arch": arch, "encoder": encoder},
        train={"epochs": 1, "batch_size": 2, "class_weights": [1, 1, 2, 2, 3, 0], "optimizer": {"name": "sgd"}},
        suppression={},
    )
    assert math.isfinite(run(config)[0].metrics[names.TRAIN_LOSS])


def test_a_loss_that_is_not_finite_names_epoch_and_step(make_trial) -> None:
    with pytest.raises(TrialFailed, match=r"^epoch 1, step 2: the loss is nan$"):
        run(make_trial(train={"lr": 1e20}))


def test_the_meter_finds_the_step_late() -> None:
    meter = Meter(epoch=3, check_every=50)
    for step in range(1, 21):
        meter.add(torch.tensor(math.inf if step >= 12 else 1.0), PathLosses(torch.tensor(1.0)))
    with pytest.raises(TrialFailed, match=r"^epoch 3, step 12: the loss is inf$"):
        meter.metrics()


def test_the_meter_means_each_term_over_the_steps_that_have_it() -> None:
    meter = Meter(epoch=1, check_every=2)
    for loss in (1.0, 2.0, 3.0):
        term = torch.tensor(loss)
        meter.add(term, PathLosses(term, 2 * term, torch.tensor(0.5) if loss == 2 else None, 3 * term, None, loss == 2))
    assert meter.metrics() == {
        names.TRAIN_LOSS: 2.0,
        names.TRAIN_CE: 2.0,
        names.TRAIN_SUPPRESSED_CE: 4.0,
        names.TRAIN_AUXILIARY_CE: 6.0,
        names.TRAIN_SUPPRESSION: 0.5,
        names.TRAIN_DROPPED: 1 / 3,
    }
    plain = Meter(epoch=1, check_every=2)
    plain.add(torch.tensor(1.0), PathLosses(torch.tensor(1.0)))
    assert set(plain.metrics()) == {names.TRAIN_LOSS, names.TRAIN_CE, names.TRAIN_SUPPRESSION, names.TRAIN_DROPPED}


def test_batch_statistics_over_one_value_fail_with_advice(make_trial) -> None:
    config = make_trial(data={"train_images": 1}, train={"batch_size": 1})
    with pytest.raises(TrialFailed, match=r"epoch 1, step 1: batch normalisation.*train\.batch_size must be at least"):
        run(config)


def test_micro_batches_of_one_image_fail_with_both_ways_out(make_trial) -> None:
    config = make_trial(data={"size": [32, 32]}, model={"arch": "deeplabv3"}, train={"batch_size": 4, "accumulate": 4})
    with pytest.raises(TrialFailed) as failure:
        run(config)
    assert str(failure.value).endswith(
        "train.batch_size must be at least 8 (and the data hold that many images), train.accumulate smaller, or "
        "data.size larger"
    )


def test_a_model_that_refuses_its_batch_fails_with_the_reason(make_trial) -> None:
    with pytest.raises(TrialFailed, match=r"epoch 1, step 1: the model cannot take the batch; .*too small"):
        run(make_trial(model={"arch": "pan", "encoder": "resnet18"}))


def test_out_of_memory_fails_with_advice(make_trial, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate much")

    monkeypatch.setattr("trainable.train.epoch.plain_losses", full)
    with pytest.raises(TrialFailed, match=r"^epoch 1, step 1: the GPU is out of memory; lower train\.batch_size"):
        run(make_trial())


@pytest.mark.parametrize("part", ["evaluate", "prepare"])
def test_out_of_memory_outside_of_a_step_fails_with_advice(part: str, make_trial, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate much")

    monkeypatch.setattr(f"trainable.train.engine.{part}", full)
    with pytest.raises(TrialFailed, match=r"^before .* evaluation: the GPU is out of memory; lower data\.size"):
        run(make_trial())


STEP, EVALUATION = "trainable.train.epoch.plain_losses", "trainable.train.engine.evaluate"


@pytest.mark.parametrize("failing", [None, STEP, EVALUATION])
def test_a_failed_trial_lets_go_of_its_model_though_its_error_is_kept(failing, make_trial, monkeypatch) -> None:
    models: list[weakref.ref[nn.Module]] = []

    def watched(*arguments) -> Training:
        training = prepare(*arguments)
        models.append(weakref.ref(training.model))
        return training

    def full(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate much")

    monkeypatch.setattr("trainable.train.engine.prepare", watched)
    if failing is not None:
        monkeypatch.setattr(failing, full)
    with pytest.raises(TrialFailed) as failure:
        next(fit(make_trial(train={} if failing else {"lr": 1e20}), device="cpu"))
    gc.collect()
    assert failure.value.__traceback__ is not None
    assert [model() for model in models] == [None]


def test_errors_that_nobody_foresaw_stay_what_they_are(make_trial, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_trial(train={"epochs": 2})
    results = fit(config, device="cpu")
    next(results)
    monkeypatch.setattr("trainable.train.epoch.plain_losses", lambda *_: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        next(results)


def test_a_wrong_model_fails_at_the_first_epoch(make_trial) -> None:
    with pytest.raises(ModelError):
        next(fit(make_trial(model={"encoder": "tu-resnet_81"}), device="cpu"))


def test_only_ignored_pixels_train_without_nan(make_trial) -> None:
    config = make_trial(suppression={**SUPPRESSION, "sampling": {"name": "present"}})
    training = prepare(config, choose_compute("cpu", "auto"), 4, ClassStatistics.of([[1] * 6]))
    frames = HeldFrames(torch.zeros(4, 3, 32, 32).byte(), torch.full((4, 32, 32), IGNORE_INDEX).byte())
    assert train_epoch(training, frames, 1)[names.TRAIN_CE] == 0
    assert all(torch.isfinite(p).all() for p in training.model.parameters())


def test_a_bfloat16_step_is_close_to_a_float32_step(make_trial) -> None:
    """What a GPU does with precision auto, on the CPU: same loss up to bfloat16's three digits, weights in float32."""
    losses = []
    for precision in ("fp32", "bf16"):
        config = make_trial(data={"size": [64, 64]}, suppression=SUPPRESSION)
        training = prepare(config, Compute(torch.device("cpu"), precision), 12, ClassStatistics.of([[1] * 6]))
        losses.append(train_epoch(training, load_splits(config.data).train, 1, limit=1)[names.TRAIN_LOSS])
        assert {p.dtype for p in training.model.parameters()} == {torch.float32}
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]


def test_incomplete_batches_are_dropped_unless_alone() -> None:
    def sizes(images: int, batch: int) -> list[int]:
        return [len(b) for b in index_batches(images, batch, torch.Generator().manual_seed(0))]

    assert sizes(10, 4) == [4, 4]
    assert sizes(3, 4) == [3]
    assert sizes(8, 4) == [4, 4]
    batches = index_batches(10, 5, torch.Generator().manual_seed(0))
    assert sorted(torch.cat(batches).tolist()) == list(range(10))


def test_streams_are_independent() -> None:
    drawn = {
        seeds.stream_seed(seed, stream, epoch)
        for seed in (-1, 0, 1)
        for stream in ("weights", "order", "augment", "suppression", "layers")
        for epoch in (0, 1)
    }
    assert len(drawn) == 3 * 5 * 2


def test_optimizers_and_schedule() -> None:
    train = TrainConfig(epochs=1, batch_size=1, lr=0.1, optimizer=SGD(name="sgd", momentum=0.8, weight_decay=0.1))
    sgd = build_optimizer(train, [nn.Parameter(torch.ones(1))])
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["momentum"], sgd.defaults["weight_decay"]) == (0.8, 0.1)
    adamw = build_optimizer(train.model_copy(update={"optimizer": AdamW(name="adamw")}), [nn.Parameter(torch.ones(1))])
    assert isinstance(adamw, torch.optim.AdamW)
    schedule = build_schedule(train, sgd, steps_per_epoch=4)
    rates = []
    for _ in range(5):
        rates.append(schedule.get_last_lr()[0])
        sgd.step()
        schedule.step()
    assert rates == pytest.approx([0.1 * (1 - t / 4) ** 0.9 for t in range(4)] + [0])
    assert poly_factor(3, 4, 0) == 1


def test_a_probe_projects_from_a_few_steps(make_trial) -> None:
    found = probe(make_trial(suppression={}), steps=2, device="cpu")
    assert found.steps_per_epoch == 3
    assert found.parameters > 10_000
    assert min(found.step_seconds, found.eval_seconds, found.setup_seconds) > 0


def test_scenes_that_are_made_in_memory_are_projected_too(make_trial) -> None:
    trial = make_trial(suppression={})
    many = trial.model_copy(update={"data": trial.data.model_copy(update={"train_images": 1_000_000})})
    began = time.monotonic()
    found = probe(many, steps=2, device="cpu")
    assert found.steps_per_epoch == 1_000_000 // trial.train.batch_size
    assert found.setup_seconds > time.monotonic() - began, "not made"
