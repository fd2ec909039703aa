"""Rare class sampling: what is drawn, how often, and that an epoch stays an epoch."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trainable.data.config import RareClassSampling
from trainable.data.frames import load_splits
from trainable.data.rare_class_sampling import class_probabilities, rare_class_batches
from trainable.data.statistics import train_statistics
from trainable.train import seeds
from trainable.train.compute import choose_compute
from trainable.train.engine import prepare
from trainable.train.epoch import _batches, steps_per_epoch

COUNTS_NC = np.array([[90, 10, 0, 0], [80, 0, 0, 0], [50, 0, 5, 0], [0, 0, 5, 0], [0, 0, 0, 0]])


def test_the_probability_of_a_class_is_daformers() -> None:
    f = [220 / 240, 10 / 240, 10 / 240]
    weights = [math.exp((1 - share) / 0.3) for share in f]
    expected = [weight / sum(weights) for weight in weights] + [0.0]
    assert class_probabilities(RareClassSampling(temperature=0.3), COUNTS_NC).tolist() == pytest.approx(expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.sampled_from([1e-6, 0.01, 100.0]))
def test_an_epoch_has_as_many_images_and_each_holds_a_class(seed: int, batch_size: int, temperature: float) -> None:
    steps, sampling = steps_per_epoch(len(COUNTS_NC), batch_size), RareClassSampling(temperature=temperature)
    batches, again = (
        rare_class_batches(sampling, COUNTS_NC, steps, batch_size, torch.Generator().manual_seed(seed))
        for _ in range(2)
    )
    assert [len(batch) for batch in batches] == [min(batch_size, len(COUNTS_NC))] * steps
    assert all(torch.equal(*pair) for pair in zip(batches, again, strict=True))
    assert 4 not in torch.cat(batches), "holds no class"


def test_images_are_drawn_by_class_and_then_alike() -> None:
    """Against the probabilities of both draws, summed over the classes of an image; 20,000 images, 5 deviations."""
    sampling, draws = RareClassSampling(temperature=0.5), 20_000
    drawn = torch.cat(rare_class_batches(sampling, COUNTS_NC, draws // 4, 4, torch.Generator().manual_seed(0)))
    p_C, holders_C = class_probabilities(sampling, COUNTS_NC), (COUNTS_NC > 0).sum(axis=0)
    counted = Counter(drawn.tolist())
    for image, counts_C in enumerate(COUNTS_NC):
        p = sum(float(p_C[c]) / holders_C[c] for c in range(4) if counts_C[c])
        assert abs(counted[image] / draws - p) <= 5 * math.sqrt(p * (1 - p) / draws)


def test_a_trial_draws_rare_images_more_often_from_epoch_to_epoch_anew(make_trial) -> None:
    config = make_trial(data={"train_images": 40, "rare_class_sampling": {"temperature": 0.01}})
    frames, statistics = load_splits(config.data).train, train_statistics(config.data)
    training = prepare(config, choose_compute("cpu", "fp32"), len(frames), statistics)
    epochs = [_batches(training, frames, seeds.generator(config.seed, "order", epoch)) for epoch in (1, 2, 1)]
    assert [len(batch) for batch in epochs[0]] == [4] * 10
    assert torch.equal(torch.cat(epochs[0]), torch.cat(epochs[2]))
    assert not torch.equal(torch.cat(epochs[0]), torch.cat(epochs[1]))
    counts_NC = frames.class_pixels(6)
    rarest = int(counts_NC.sum(axis=0).argmin())
    assert (counts_NC[torch.cat(epochs[0]).numpy(), rarest] > 0).mean() > 1.5 * (counts_NC[:, rarest] > 0).mean()


def test_the_frames_and_what_is_kept_stay_the_same(make_trial) -> None:
    usual, sampled = make_trial(), make_trial(data={"rare_class_sampling": {}})
    assert load_splits(usual.data) is load_splits(sampled.data)
    assert "rare_class_sampling" not in usual.model_dump_json()
    assert sampled.model_dump(mode="json")["data"]["rare_class_sampling"] == {"temperature": 0.01}


@pytest.mark.parametrize(("name", "value"), [("rare_class_sampling", {}), ("rare_copy_paste", 0.5)])
def test_frequencies_are_made_up_for_once(make_trial, name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=rf"train\.loss: logit_adjusted adjusts .*, which data\.{name} changes"):
        make_trial(data={name: value}, train={"loss": "logit_adjusted"})
