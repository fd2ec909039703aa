"""Suppression that begins after some epochs: until then a trial is the plain trial, and may continue from one.

A plain trial is the reference of the epochs before the start; after it, steps are those of a trial with suppression
whose progress is shifted.
"""

import io
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.trainable import tiny_hrnet
from tests.trainable.test_contract import _assert_equal, _measured
from trainable.config import TrialConfig
from trainable.evaluate.metrics import names
from trainable.suppression.config import SuppressionConfig
from trainable.suppression.sampling import ClassSampler
from trainable.suppression.schedule import drop_probability, progress, suppressed_weight
from trainable.train.engine import EpochResult, fit

EPOCHS, PLAIN_EPOCHS = 4, 2
TRAIN = {"epochs": EPOCHS, "batch_size": 2}
DATA = {"train_images": 6, "val_images": 2, "augment": {"flip": True}}
HRNET = {"arch": "hrnet", "encoder": tiny_hrnet.ENCODER}
DROPPED = {"start": 0.5, "schedule": "constant", "loss_ramp": "constant", "p_max": 0.8, "gate_norm": "mean"}

CASES: dict[str, dict[str, Any]] = {
    "decoder": {"suppression": {**DROPPED, "sampling": "difficulty"}},
    "encoder.3": {"suppression": {**DROPPED, "layer": "encoder.3", "sampling": "round_robin"}},
    "branch": {"suppression": {**DROPPED, "layer": ["branch.1", "branch.3"]}, "model": HRNET},
    "input": {"suppression": {"start": 0.5, "schedule": "constant", "layer": "input", "mechanism": "erase"}},
    "input and encoder": {"suppression": {**DROPPED, "layer": ["input", "encoder.2"]}},
    "gradients": {
        "suppression": {**DROPPED, "layer": ["encoder.3", "decoder"], "importance": "gradient", "gradient_every": 2,
                        "recalibrate": True, "progress": "iteration"},
    },
    "groups": {
        "suppression": DROPPED,
        "train": {**TRAIN, "encoder_lr_factor": 0.1, "clip_norm": 1.0, "warmup_epochs": 1.5,
                  "class_weights": "log_frequency"},
    },
    "sgd": {"suppression": {**DROPPED, "layer": "encoder.2"}, "train": {**TRAIN, "optimizer": "sgd"}},
    "official": {"suppression": {**DROPPED, "mechanism": "hard"}, "model": {"init": "small", "arch": "fpn"}},
}  # fmt: skip


def _trial(make_trial: Any, case: str, **sections: Any) -> TrialConfig:
    config: TrialConfig = make_trial(**{"data": DATA, "train": TRAIN, **CASES[case], **sections})
    return config


def _stored(result: EpochResult) -> Mapping[str, Any]:
    """The state after an epoch, as a checkpoint holds it."""
    stream = io.BytesIO()
    torch.save(result.state(), stream)
    stream.seek(0)
    state: Mapping[str, Any] = torch.load(stream, weights_only=True)
    return state


def _trained(config: TrialConfig, state: Mapping[str, Any] | None = None) -> tuple[list[dict[str, float]], list[Any]]:
    """Metrics without times, and states."""
    torch.manual_seed(99)  # nothing may depend on what the process drew before
    metrics, states = [], []
    for result in fit(config, device="cpu", threads=1, resume_from=state):
        metrics.append(_measured(result.metrics))
        states.append(_stored(result))
    return metrics, states


@pytest.mark.parametrize("case", CASES)
def test_epochs_before_the_start_are_those_of_the_plain_trial_and_may_be_its(make_trial, case: str) -> None:
    config = _trial(make_trial, case)
    assert config.plain_epochs == PLAIN_EPOCHS
    plain, plain_states = _trained(_trial(make_trial, case, suppression=None))
    metrics, states = _trained(config)
    assert metrics[:PLAIN_EPOCHS] == plain[:PLAIN_EPOCHS]
    _assert_equal(states[:PLAIN_EPOCHS], plain_states[:PLAIN_EPOCHS])
    assert all(row[names.TRAIN_DROPPED] == 0 for row in metrics[:PLAIN_EPOCHS])
    assert all(row[names.TRAIN_DROPPED] > 0 for row in metrics[PLAIN_EPOCHS:])
    assert metrics[-1] != plain[-1]
    # an heir: an arm that never saw these epochs continues from the plain trial, of every epoch up to the start
    for epoch in range(1, PLAIN_EPOCHS + 1):
        inherited, later_states = _trained(config, plain_states[epoch - 1])
        assert inherited == metrics[epoch:]
        _assert_equal(later_states, states[epoch:])


@pytest.mark.parametrize("case", ["decoder", "encoder.3", "gradients", "groups", "input"])
def test_a_trial_continues_from_each_epoch_bit_for_bit(make_trial, case: str) -> None:
    config = _trial(make_trial, case)
    metrics, states = _trained(config)
    for epoch in range(1, EPOCHS):
        again, again_states = _trained(config, states[epoch - 1])
        assert again == metrics[epoch:]
        _assert_equal(again_states, states[epoch:])


@pytest.mark.parametrize("case", ["decoder", "encoder.3"])
def test_block_and_sampler_begin_at_the_start(make_trial, case: str) -> None:
    """The first epoch that suppresses begins with the block's initial weights and a sampler that learned nothing."""
    config = _trial(make_trial, case)
    _, states = _trained(config)
    assert not any(name.startswith("blocks.") for name in states[PLAIN_EPOCHS - 1]["model"])
    assert states[PLAIN_EPOCHS - 1]["sampler"] is None
    block_state = {name for name in states[PLAIN_EPOCHS]["model"] if name.startswith("blocks.")}
    assert block_state
    steps = {int(moments["step"]) for moments in states[-1]["optimizer"]["state"].values()}
    assert steps == {3 * (EPOCHS - PLAIN_EPOCHS), 3 * EPOCHS}  # of the block, of all else


def test_draws_after_the_start_are_those_of_a_trial_that_suppresses_from_the_first_epoch(
    make_trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a constant probability: the streams of an epoch know its number alone."""
    drawn: list[Any] = []
    draw = ClassSampler.draw

    def note(sampler: ClassSampler, *arguments: Any) -> Any:
        drawn.append(draw(sampler, *arguments))
        return drawn[-1]

    monkeypatch.setattr(ClassSampler, "draw", note)
    suppression = {"schedule": "constant", "p_max": 0.6}
    _trained(make_trial(data=DATA, train=TRAIN, suppression=suppression))
    whole, drawn[:] = list(drawn), []
    _trained(make_trial(data=DATA, train=TRAIN, suppression={**suppression, "start": 0.5}))
    assert len(whole) == 3 * EPOCHS
    assert len(drawn) == 3 * (EPOCHS - PLAIN_EPOCHS)
    for late, early in zip(drawn, whole[3 * PLAIN_EPOCHS :], strict=True):
        assert (late is None) == (early is None)
        if late is not None:
            assert late.seed == early.seed
            assert torch.equal(late.keep_GC, early.keep_GC)


def test_pictures_of_a_plain_epoch_are_the_plain_trials(make_trial) -> None:
    """They are drawn without the block, which is still as it was made."""
    first = [next(fit(_trial(make_trial, "encoder.3", **more), device="cpu", threads=1)) for more in ({}, _PLAIN)]
    assert first[0].pictures() == first[1].pictures()
    assert first[0].gradcam() == first[1].gradcam()


_PLAIN: dict[str, Any] = {"suppression": None}


def test_a_start_of_less_than_an_epoch_is_none(make_trial) -> None:
    suppression = {**DROPPED, "sampling": "difficulty"}
    late, early = (_trained(make_trial(suppression={**suppression, "start": start})) for start in (0.49, 0.0))
    assert late[0] == early[0]
    _assert_equal(late[1], early[1])


def test_progress_counts_from_the_start() -> None:
    by_epoch = SuppressionConfig(start=0.5)
    assert [progress(by_epoch, epoch, 8, 1, 2) for epoch in range(1, 9)] == [0, 0, 0, 0, 0, 0.25, 0.5, 0.75]
    by_step = SuppressionConfig(start=0.5, progress="iteration")
    u = [progress(by_step, epoch, 4, step, 2) for epoch in range(1, 5) for step in (1, 2)]
    assert u == [0, 0, 0, 0, 0, 0.25, 0.5, 0.75]
    assert [drop_probability(by_step, at) for at in u] == u
    assert [suppressed_weight(by_step, at) for at in u] == u


@pytest.mark.parametrize(
    ("start", "epochs", "expected"), [(0.29, 100, 29), (0.58, 50, 29), (0.3, 10, 3), (0.0, 10, 0), (0.999, 10, 9)]
)
def test_a_start_is_rounded_down_as_it_is_written(start: float, epochs: int, expected: int) -> None:
    """In binary 0.29 x 100 is 28.99 and a bit."""
    assert SuppressionConfig(start=start).plain_epochs(epochs) == expected


@given(
    st.floats(0, 1, exclude_max=True), st.integers(1, 1000), st.integers(1, 7), st.sampled_from(["epoch", "iteration"])
)
def test_the_last_epoch_always_suppresses_and_progress_stays_below_one(
    start: float, epochs: int, steps: int, counted: Any
) -> None:
    suppression = SuppressionConfig(start=start, progress=counted)
    assert 0 <= suppression.plain_epochs(epochs) < epochs
    first = suppression.plain_epochs(epochs) + 1
    assert progress(suppression, first, epochs, 1, steps) == 0
    assert progress(suppression, epochs, epochs, steps, steps) < 1
