"""Reliance on context against a slow reference, and what must hold of it in a trial."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trainable.config import TrialConfig
from trainable.data.classes import IGNORE_INDEX, SHAPES
from trainable.data.frames import HeldFrames, load_splits
from trainable.evaluate.changed_frames import evaluate_changed
from trainable.evaluate.config import Context
from trainable.evaluate.context import context_reliance, sampled_frames
from trainable.evaluate.metrics.names import (
    CONTEXT_RARE_RELIANCE,
    CONTEXT_RELIANCE,
    context_name,
    greater_is_better,
    repeats,
)
from trainable.evaluate.metrics.reliance import reliance_scores
from trainable.evaluate.predict import frame_logits
from trainable.train.checkpoint import from_bytes, to_bytes
from trainable.train.compute import Compute
from trainable.train.engine import EpochResult, fit
from trainable.train.probe import changed_predictions

COMPUTE = Compute(torch.device("cpu"))
NAMES = ("road", "sky", "car", "cone")
SIZE = (12, 20)


def frames_of(seed: int, count: int = 7) -> HeldFrames:
    """Patches of at most three of four classes, some pixels ignored, some labelled alone in their frame."""
    generator = torch.Generator().manual_seed(seed)
    coarse_Nhw = torch.randint(4, (count, 3, 5), generator=generator)
    for n in range(count):
        coarse_Nhw[n][coarse_Nhw[n] == n % 4] = (n + 1) % 4
    labels_NHW = coarse_Nhw.repeat_interleave(4, dim=1).repeat_interleave(4, dim=2).to(torch.uint8)
    labels_NHW[torch.rand(labels_NHW.shape, generator=generator) < 0.1] = IGNORE_INDEX
    labels_NHW[-1] = 2
    images_N3HW = torch.randint(256, (count, 3, *SIZE), generator=generator, dtype=torch.uint8)
    return HeldFrames(images_N3HW, labels_NHW)


def mixing(seed: int) -> Callable[[Tensor], Tensor]:
    """A predictor that sees far around each pixel."""
    weight = torch.randn(4, 3, 7, 7, generator=torch.Generator().manual_seed(seed))
    return lambda input_B3HW: F.conv2d(input_B3HW, weight, padding=3).argmax(dim=1)


def slow_reliance(
    predict: Callable[[Tensor], Tensor], frames: HeldFrames, numbers: Sequence[int], erased: Sequence[int], fill: str
) -> list[list[float]]:
    """Loops over frames and pixels: hits and unions of c in the frames that hold z and c, before and after."""
    reliance = [[math.nan] * 4 for _ in range(4)]
    for z in erased:
        counts = {(c, when): [0, 0] for c in range(4) for when in ("before", "after")}
        for n in numbers:
            label = frames.labels[n].numpy()
            if z not in label:
                continue
            seen = COMPUTE.network_input(frames.images[n : n + 1])
            changed = seen.clone()
            if fill == "noise":
                noise = torch.randn(1, *SIZE, 3, generator=torch.Generator().manual_seed(256 * n + z))
            for k in range(3):
                mean = seen[0, k].mean()
                for y, x in np.argwhere(label == z):
                    changed[0, k, y, x] = mean
                    if fill == "noise":
                        changed[0, k, y, x] += noise[0, y, x, k] * COMPUTE.levels(10)[k, 0, 0]
            predictions = {"before": predict(seen)[0].numpy(), "after": predict(changed)[0].numpy()}
            for c in set(label.ravel().tolist()) - {z, IGNORE_INDEX}:
                for when, predicted in predictions.items():
                    for y, x in np.ndindex(*SIZE):
                        if label[y, x] in (z, IGNORE_INDEX):
                            continue
                        is_c, said_c = label[y, x] == c, predicted[y, x] == c
                        counts[c, when][0] += int(is_c and said_c)
                        counts[c, when][1] += int(is_c or said_c)
        for c in range(4):
            (hits, union), (hits_after, union_after) = counts[c, "before"], counts[c, "after"]
            if union:
                reliance[z][c] = hits / union - hits_after / union_after
    return reliance


@pytest.mark.parametrize("fill", ["noise", "mean"])
@pytest.mark.parametrize(("classes", "count", "batch"), [("all", "all", 3), (("sky", "cone"), 4, 2), ("all", 7, 50)])
def test_it_equals_the_slow_reference(fill: Any, classes: Any, count: Any, batch: int) -> None:
    context = Context(classes=classes, frames=count, fill=fill)
    frames, predict = frames_of(batch), mixing(batch)
    ours_CC = context_reliance(predict, COMPUTE, frames, NAMES, context, batch)
    numbers = sampled_frames(7, context).tolist()
    assert len(numbers) == (7 if count == "all" else count)
    erased = range(4) if classes == "all" else [NAMES.index(name) for name in classes]
    expected_CC = torch.tensor(slow_reliance(predict, frames, numbers, erased, fill), dtype=torch.float64)
    assert torch.isnan(ours_CC.diagonal()).all()
    assert int(torch.isfinite(ours_CC).sum()) > (8 if classes == "all" else 3)
    torch.testing.assert_close(ours_CC, expected_CC, rtol=0, atol=1e-12, equal_nan=True)


def test_the_batch_changes_nothing() -> None:
    frames, predict = frames_of(3), mixing(3)
    several = [context_reliance(predict, COMPUTE, frames, NAMES, Context(), size) for size in (1, 2, 7)]
    for one in several[1:]:
        torch.testing.assert_close(one, several[0], rtol=0, atol=0, equal_nan=True)


def test_a_network_that_sees_the_pixel_alone_relies_on_nothing() -> None:
    def by_colour(input_B3HW: Tensor) -> Tensor:
        return ((input_B3HW.sum(dim=1) * 1.7).long() % 4).abs()

    reliance_CC = context_reliance(by_colour, COMPUTE, frames_of(5), NAMES, Context(), 3)
    known_CC = reliance_CC[torch.isfinite(reliance_CC)]
    assert len(known_CC) > 8
    assert (known_CC == 0).all()


def test_a_class_that_is_told_by_its_context_relies_on_it_and_nothing_else_does() -> None:
    """Sky (white) lies above; a car is any grey pixel of a frame with white in it, else a cone."""
    images_N3HW = torch.full((2, 3, 8, 8), 100, dtype=torch.uint8)
    labels_NHW = torch.full((2, 8, 8), 2, dtype=torch.uint8)
    images_N3HW[:, :, :2], labels_NHW[:, :2] = 255, 1
    images_N3HW[:, :, 6:], labels_NHW[:, 6:] = 0, 0

    def predict(input_B3HW: Tensor) -> Tensor:
        grey_BHW = input_B3HW[:, 0] * 0.229 + 0.485
        bright_B11 = (grey_BHW > 0.9).flatten(1).any(dim=1)[:, None, None]
        inner_BHW = torch.where(bright_B11, 2, 3)
        return torch.where(grey_BHW > 0.9, 1, torch.where(grey_BHW < 0.1, 0, inner_BHW))

    reliance_CC = context_reliance(predict, COMPUTE, HeldFrames(images_N3HW, labels_NHW), NAMES, Context(), 2)
    assert reliance_CC[1].tolist()[2] == 1, "the car is lost with the sky"
    assert (reliance_CC[1, 0], reliance_CC[0, 1], reliance_CC[0, 2]) == (0, 0, 0)
    assert torch.isnan(reliance_CC[3]).all(), "no cone is labelled"
    metrics = reliance_scores(reliance_CC, NAMES, rare=[2])
    assert metrics == {
        context_name("road"): 0.0,
        context_name("sky"): 0.5,
        context_name("car"): 0.0,
        CONTEXT_RELIANCE: pytest.approx(1 / 6),
        CONTEXT_RARE_RELIANCE: 0.5,
    }
    assert not any(greater_is_better(name) for name in metrics)


def test_frames_without_the_class_dilute_nothing() -> None:
    """The same frames, and others beside them in which the class or the one that is erased is missing."""
    frames, predict = frames_of(1, count=3), mixing(1)
    label_HW = frames.labels[0]
    z, c = sorted(set(label_HW.flatten().tolist()) - {IGNORE_INDEX})[:2]
    others_NHW = torch.stack([label_HW.where(label_HW != gone, IGNORE_INDEX) for gone in (z, c)])
    more = HeldFrames(torch.cat([frames.images[:1]] * 3), torch.cat([frames.labels[:1], others_NHW]))
    alone = HeldFrames(frames.images[:1], frames.labels[:1])
    one, other = (context_reliance(predict, COMPUTE, f, NAMES, Context(fill="mean"), 2) for f in (alone, more))
    assert one[z, c] == other[z, c] != 0


def test_the_sample_is_that_of_every_trial_and_grows() -> None:
    few, many = (sampled_frames(50, Context(frames=count)).tolist() for count in (8, 30))
    assert set(few) < set(many) <= set(range(50))
    assert many == sorted(many)
    assert sampled_frames(50, Context(frames="all")).tolist() == list(range(50))
    assert sampled_frames(5, Context()).tolist() == list(range(5))


def run(config: TrialConfig, resume_from: Mapping[str, Any] | None = None) -> list[EpochResult]:
    return list(fit(config, device="cpu", threads=1, resume_from=resume_from))


def numbers_of(result: EpochResult) -> dict[str, float]:
    return {name: value for name, value in result.metrics.items() if repeats(name)}


ON = {"context": {"frames": 4}, "corruptions": {"frames": 4}}


def test_a_trial_measures_after_its_last_epoch_and_trains_as_without(make_trial: Any) -> None:
    plain, measured = (run(make_trial(evaluation=evaluation)) for evaluation in ({}, ON))
    assert [result.reliance is None for result in measured] == [True, False]
    assert all(result.reliance is None for result in plain)
    assert numbers_of(plain[0]) == numbers_of(measured[0])
    added = {name for name in measured[1].metrics if name not in plain[1].metrics}
    assert {name: measured[1].metrics[name] for name in plain[1].metrics if repeats(name)} == numbers_of(plain[1])
    assert all(name.startswith(("context", "corrupt")) for name in added)
    assert {CONTEXT_RELIANCE, context_name("meadow")} < added
    for name, value in plain[1].training.model.state_dict().items():
        assert torch.equal(value, measured[1].training.model.state_dict()[name])


def test_every_so_many_epochs_and_the_last(make_trial: Any) -> None:
    config = make_trial(train={"epochs": 3}, evaluation={"context": {"every": 2, "frames": 2}})
    assert [result.reliance is not None for result in run(config)] == [False, True, True]
    assert [Context(every=2).times(epochs) for epochs in (1, 2, 5, 6)] == [1, 1, 3, 3]
    assert Context().times(5) == 1


def test_a_trial_that_continues_measures_the_same(make_trial: Any) -> None:
    config = make_trial(train={"epochs": 3}, evaluation=ON)
    states, whole = [], []
    for result in fit(config, device="cpu", threads=1):
        whole.append(result)
        states.append(to_bytes(result.state()))
    (resumed,) = run(config, from_bytes(states[1]))
    assert numbers_of(resumed) == numbers_of(whole[2])
    assert resumed.reliance is not None
    torch.testing.assert_close(resumed.reliance, whole[2].reliance, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("evaluation", "suppression"),
    [
        ({}, {"layer": "encoder.4", "recalibrate": True}),
        ({"window": [32, 32], "overlap": 0.0}, {"layer": "input"}),
        ({"flip": True, "scales": [0.5, 1.0]}, None),
    ],
    ids=str,
)
def test_frames_are_predicted_as_the_evaluation_says(make_trial: Any, evaluation: Any, suppression: Any) -> None:
    """Against ``frame_logits`` itself on frames that are erased one by one."""
    config = make_trial(
        data={"size": [64, 64], "val_images": 3},
        train={"epochs": 1, "lr": 0.02},
        evaluation={**evaluation, "context": {"fill": "mean"}},
        suppression=suppression,
    )
    (result,) = run(config)
    model, frames = result.training.model, load_splits(config.data).val
    compute = result.training.compute
    with torch.inference_mode():
        again = evaluate_changed(config, model, compute, frames, result.rare, epoch=1)

        def predict(input_B3HW: Tensor) -> Tensor:
            return torch.cat([frame_logits(model, one[None], config.evaluation) for one in input_B3HW]).argmax(dim=1)

        expected_CC = context_reliance(predict, compute, frames, SHAPES, Context(fill="mean"), 1)
    assert result.reliance is not None
    torch.testing.assert_close(again.reliance, result.reliance, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(result.reliance, expected_CC, rtol=0, atol=2e-3, equal_nan=True)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"classes": ["meadw"]}, "unknown class 'meadw'; one of meadow, sand"),
        ({"classes": ["sand", "sand"]}, "lists a class twice"),
        ({"classes": []}, "at least 1"),
        ({"classes": "most"}, "'all'"),
        ({"frames": 0}, "greater than or equal to 1"),
        ({"every": "first"}, "'last'"),
        ({"every": 0}, "greater than or equal to 1"),
        ({"fill": "swap"}, "'noise', 'mean' or 'blur'"),
    ],
    ids=str,
)
def test_mistakes(make_trial: Any, context: Any, message: str) -> None:
    with pytest.raises(ValueError, match="evaluation") as caught:
        make_trial(evaluation={"context": context})
    assert message in str(caught.value)


def test_trials_of_older_versions_stay_equal(make_trial: Any) -> None:
    dumped = make_trial().model_dump(mode="json")
    assert "context" not in dumped["evaluation"]
    assert make_trial(evaluation={"context": None}) == make_trial()


def test_a_dry_run_counts_the_predictions(make_trial: Any) -> None:
    """Of a split whose first frames are as the others: those that are made."""
    config = make_trial(evaluation={"context": {"frames": 3, "every": 1}, "corruptions": {}})
    frames, made = frames_of(2), []

    def predict(input_B3HW: Tensor) -> Tensor:
        made.append(len(input_B3HW))
        return input_B3HW[:, 0].long().clamp(0, 3)

    context_reliance(predict, COMPUTE, frames, NAMES, Context(frames="all"), 4)
    whole = make_trial(train={"epochs": 1}, evaluation={"context": {"frames": "all"}})
    assert changed_predictions(whole, frames, 7) == pytest.approx(sum(made))
    per_frame = sum(made) / 7
    assert changed_predictions(config, frames, 70) == pytest.approx(2 * 3 * per_frame + 70 * 4)
    assert changed_predictions(make_trial(), frames, 70) == 0
