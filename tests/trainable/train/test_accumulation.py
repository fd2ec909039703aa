"""A step in micro-batches is the step of the whole batch where no batch norm sees its parts: float64, 1e-10."""

import json
from copy import deepcopy
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from trainable.config import TrialConfig
from trainable.data.classes import IGNORE_INDEX
from trainable.data.frames import HeldFrames, load_splits
from trainable.data.statistics import train_statistics
from trainable.evaluate.evaluate import evaluation_batch_size
from trainable.evaluate.metrics import names
from trainable.suppression.drop import Drop
from trainable.train.compute import choose_compute
from trainable.train.engine import fit, prepare
from trainable.train.epoch import Training, train_epoch

BATCH = 8
SUPPRESSION = {"gate_norm": "mean", "alpha": 1.0, "schedule": "constant", "p_max": 0.8, "loss_ramp": "constant"}
SAMPLING = [
    "uniform", "present", "frequency", "inverse_frequency", "effective_number", "temperature", "difficulty",
    "co_occurrence", "round_robin",
]  # fmt: skip

PER_IMAGE = ["uniform", "present", "difficulty", "round_robin"]


def erase(fill: str, mask: str = "class", **more: Any) -> dict[str, Any]:
    return {"mechanism": {"name": "erase", "fill": fill, "mask": mask, **more}}


TRIALS: dict[str, dict[str, Any]] = {
    "plain": {},
    "weighted": {"train": {"class_weights": "log_frequency", "loss": {"name": "focal"}}},
    "logit adjusted": {"train": {"loss": "logit_adjusted"}},
    "pasted": {"data": {"rare_copy_paste": 0.5}},
    **{f"{name} at the decoder": {"suppression": {"sampling": name}} for name in SAMPLING},
    **{f"{name} per image": {"suppression": {"sampling": name, "granularity": "image"}} for name in PER_IMAGE},
    "groups": {"suppression": {"granularity": {"name": "groups", "shares": [1, 3]}, "num_classes": 2}},
    "encoder.3 and decoder": {"suppression": {"layer": ["encoder.3", "decoder"], "sampling": "present"}},
    "encoder.3 per image": {"suppression": {"layer": "encoder.3", "granularity": "image", "sampling": "difficulty"}},
    "projection": {"suppression": {"mechanism": "projection", "granularity": "image"}},
    "random channels": {"suppression": {"mechanism": "random_channels"}},
    "weighted, kept": {
        "suppression": {"reweight": "keep", "granularity": "image"}, "train": {"class_weights": "log_frequency"},
    },
    "noise at the input": {"suppression": {"layer": "input", **erase("noise")}},
    "blocks at the input": {"suppression": {"layer": "input", "granularity": "image", **erase("blur", "blocks")}},
    "swap at the input": {"suppression": {"layer": "input", "reweight": "keep", **erase("swap", "elsewhere")}},
    "noise in maps": {"suppression": {"layer": ["input", "encoder.3"], "granularity": "image", **erase("noise")}},
    "mean in maps, kept": {"suppression": {"layer": "decoder", "reweight": "keep", **erase("mean", labels="kept")}},
}  # fmt: skip


def trial(make_trial, accumulate: int, sections: dict[str, Any]) -> TrialConfig:
    sections = deepcopy(sections)
    sections["train"] = {"batch_size": BATCH, "lr": 0.05, **sections.get("train", {}), "accumulate": accumulate}
    sections["data"] = {"train_images": 5 * BATCH, "augment": {"crop": [32, 32]}, **sections.get("data", {})}
    if "suppression" in sections:
        sections["suppression"] = {**SUPPRESSION, **sections["suppression"]}
        if "erase" in str(sections["suppression"].get("mechanism")):
            for unused in ("gate_norm", "alpha", "loss_ramp"):
                del sections["suppression"][unused]
    sections["train"]["optimizer"] = {"name": "sgd", "momentum": 0.9, "weight_decay": 0.0}
    return make_trial(**sections)


def trained(config: TrialConfig, steps: int = 5) -> tuple[dict[str, float], dict[str, Tensor], Any]:
    """Metrics, weights and the sampler's state after some steps in float64, without batch statistics."""
    frames = mostly_labelled(load_splits(config.data).train)
    training = prepare(config, choose_compute("cpu", "fp32"), len(frames), train_statistics(config.data))
    training.model.double()
    without_batch_norm(training.model)
    training = in_double(training)
    metrics = train_epoch(training, frames, 1, limit=steps)
    weights = {name: value.detach().clone() for name, value in training.model.named_parameters()}
    return metrics, weights, training.sampler.state_dict() if training.sampler else {}


def mostly_labelled(frames: object) -> HeldFrames:
    """Micro-batches of very different numbers of labelled pixels, one image without any."""
    assert isinstance(frames, HeldFrames)
    labels = frames.labels.clone()
    for index in range(len(labels)):
        labels[index, : index % 4 * 9] = IGNORE_INDEX
    labels[5] = IGNORE_INDEX
    return HeldFrames(frames.images, labels)


def without_batch_norm(model: nn.Module) -> None:
    """Let it normalise by its running statistics, in training too."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train = lambda _mode=True, module=module: module  # type: ignore[method-assign,assignment,misc]
            module.training = False
            module.running_var.fill_(0.3)  # type: ignore[union-attr,operator]


def in_double(training: Training) -> Training:
    class Doubled(type(training.compute)):  # type: ignore[misc]
        def network_input(self, images_B3HW: Tensor) -> Tensor:
            return super().network_input(images_B3HW).double()  # type: ignore[no-any-return]

    compute = Doubled(training.compute.device, training.compute.precision, training.compute.normalization)
    weights = None if training.loss_weights is None else training.loss_weights.double()
    return Training(**{**vars(training), "compute": compute, "loss_weights": weights})


@pytest.mark.parametrize("sections", TRIALS.values(), ids=TRIALS)
def test_a_step_in_parts_is_the_step_of_the_whole(make_trial, sections: dict[str, Any]) -> None:
    whole, parts = (trained(trial(make_trial, n, sections)) for n in (1, 4))
    assert sections.get("suppression") is None or whole[0][names.TRAIN_DROPPED] > 0
    for name, value in whole[0].items():
        assert name.endswith("_seconds") or parts[0][name] == pytest.approx(value, rel=1e-10, abs=1e-12), name
    for name, weight in whole[1].items():
        torch.testing.assert_close(parts[1][name], weight, rtol=0, atol=1e-10, msg=name)
    torch.testing.assert_close(parts[2], whole[2], rtol=0, atol=0)


def test_the_steps_moved_the_weights_by_far_more(make_trial) -> None:
    before, after = (trained(trial(make_trial, 2, TRIALS["plain"]), steps)[1] for steps in (1, 5))
    assert max(float((after[name] - before[name]).abs().max()) for name in after) > 1e-3


def test_micro_batches_of_one_image(make_trial) -> None:
    sections = TRIALS["encoder.3 per image"]
    whole, parts = (trained(trial(make_trial, n, sections), 2) for n in (1, 8))
    for name, weight in whole[1].items():
        torch.testing.assert_close(parts[1][name], weight, rtol=0, atol=1e-10, msg=name)


def test_a_batch_that_is_not_complete_is_divided_too(make_trial) -> None:
    """Of seven images, the last micro-batch of which is smaller."""
    sections = {"data": {"train_images": 7}, "suppression": {"granularity": "image", "layer": ["encoder.3", "decoder"]}}
    whole, parts = (trained(trial(make_trial, n, sections), 1) for n in (1, 4))
    for name, weight in whole[1].items():
        torch.testing.assert_close(parts[1][name], weight, rtol=0, atol=1e-10, msg=name)


def test_batch_norm_sees_a_micro_batch_at_a_time(make_trial) -> None:
    config = trial(make_trial, 4, {})
    training = prepare(config, choose_compute("cpu", "fp32"), 40, train_statistics(config.data))
    seen: list[int] = []
    norm = next(m for m in training.model.modules() if isinstance(m, nn.BatchNorm2d))
    norm.register_forward_pre_hook(lambda _, arguments: seen.append(len(arguments[0])))
    train_epoch(training, load_splits(config.data).train, 1, limit=2)
    assert seen == [2] * 8
    assert norm.num_batches_tracked == 8
    assert training.schedule.last_epoch == 2


@pytest.mark.parametrize("groups", [1, 4])
def test_shares_of_parts_add_up(groups: int) -> None:
    keep = torch.ones(groups, 5)
    keep[0, [1, 3]] = 0
    drop = Drop(keep, seed=3, share=0.5)
    parts = [drop.part(slice(first, first + 2), 4) for first in (0, 2)]
    shares = [part.shares() for part in parts]
    together = sum(shares) if groups == 1 else torch.cat(shares)
    assert isinstance(together, Tensor)
    torch.testing.assert_close(together, drop.shares())
    assert {(part.seed, part.share) for part in parts} == {(3, 0.5)}


def test_a_trial_goes_on_bit_for_bit_in_micro_batches(make_trial) -> None:
    config = trial(make_trial, 2, {"suppression": {"sampling": "difficulty", "recalibrate": True}})
    first, second = (dict(r.metrics) | {"state": deepcopy(r.state())} for r in fit(config, device="cpu", threads=1))
    (again,) = fit(config, device="cpu", threads=1, resume_from=first["state"])
    assert {n: v for n, v in again.metrics.items() if "_seconds" not in n} == {
        n: v for n, v in second.items() if "_seconds" not in n and n != "state"
    }


def test_an_evaluation_takes_no_more_at_once_than_a_pass(make_trial) -> None:
    assert [evaluation_batch_size(trial(make_trial, n, {})) for n in (1, 2, 8)] == [8, 4, 1]


def test_one_is_no_setting_of_its_own(make_trial) -> None:
    """Trials that older versions kept stay equal to those of today; with parts a trial is another one."""
    assert "accumulate" not in make_trial().train.model_dump(mode="json")
    config = trial(make_trial, 4, {})
    assert config.train.model_dump(mode="json")["accumulate"] == 4
    assert TrialConfig.model_validate_json(config.model_dump_json()) == config
    assert json.loads(config.plain().model_dump_json())["train"]["accumulate"] == 4


@pytest.mark.parametrize(
    ("sections", "rule"),
    [
        ({"train": {"batch_size": 9}}, "train.accumulate: must divide train.batch_size (9), got 2"),
        ({"train": {"loss": "dice"}}, "train.accumulate: 'dice' looks at the whole batch at once, of which accumulate"),
        ({"train": {"loss": "ohem"}}, "use 1, or the loss ce, focal or logit_adjusted"),
        (
            {"suppression": {"layer": "encoder.3", "importance": "gradient"}},
            "train.accumulate: importance gradient is measured on the whole batch at once",
        ),
        (
            {"suppression": {"layer": "encoder.3", **erase("swap")}},
            "train.accumulate: fill swap in a map takes another image of the batch",
        ),
    ],
)
def test_what_needs_the_whole_batch_is_refused(make_trial, sections: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValidationError) as caught:
        trial(make_trial, 2, sections)
    assert rule in str(caught.value)
    trial(make_trial, 1, sections)
