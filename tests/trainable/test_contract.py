"""What holds for every combination of the three knobs: it trains, and continues from a checkpoint bit for bit."""

import io
from itertools import product
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from tests.trainable import tiny_hrnet
from trainable.config import TrialConfig
from trainable.evaluate.metrics import names
from trainable.loss.config import BuiltInLoss
from trainable.suppression.config import Granularity, Layer
from trainable.suppression.drop import Drop
from trainable.suppression.mechanism_sections import BuiltInMechanism
from trainable.suppression.sampling import ClassSampler
from trainable.suppression.sampling_sections import BuiltInSampling
from trainable.train.engine import fit

CLASSES = 6
DATA = {"train_images": 6, "val_images": 1}
TRAIN = {"epochs": 2, "batch_size": 2}  # two epochs of 3 steps, a checkpoint between them


def _names(union: Any) -> list[str]:
    """Of the members of a union that is told apart by name: a new member is tested without being listed here."""
    members, *_ = get_args(union)
    return [get_args(member.model_fields["name"].annotation)[0] for member in get_args(members)]


LAYERS: list[Any] = [*get_args(Layer), ["encoder.3", "decoder"], ["branch.1", "branch.4"], ["input", "decoder"]]
LISTED = {"name": "listed", "classes": ["sand", "meadow"]}


def _model(layer: Any) -> dict[str, str]:
    """What replaces the usual model where a layer asks for it."""
    return {"arch": "hrnet", "encoder": tiny_hrnet.ENCODER} if "branch" in str(layer) else {}


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> list[Drop | None]:
    """All draws of the test."""
    seen: list[Drop | None] = []
    draw = ClassSampler.draw

    def spy(sampler: ClassSampler, *arguments: Any) -> Drop | None:
        seen.append(draw(sampler, *arguments))
        return seen[-1]

    monkeypatch.setattr(ClassSampler, "draw", spy)
    return seen


def _measured(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.endswith("_seconds")}


def _assert_equal(ours: Any, theirs: Any, where: str = "state") -> None:
    """Containers of tensors and numbers, bit for bit."""
    assert type(ours) is type(theirs), where
    if isinstance(ours, dict):
        assert list(ours) == list(theirs), where
        for key in ours:
            _assert_equal(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs), where
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            _assert_equal(*pair, f"{where}.{index}")
    elif isinstance(ours, Tensor):
        assert ours.dtype == theirs.dtype, where
        assert torch.equal(ours, theirs), where
        assert not ours.is_floating_point() or bool(torch.isfinite(ours).all()), where
    else:
        assert ours == theirs, where


def _assert_resumes(config: TrialConfig, draws: list[Drop | None]) -> None:
    """Train 3 steps, save, train on; then continue from what was saved."""
    whole = fit(config, device="cpu", threads=1)
    saved = io.BytesIO()
    torch.save(next(whole).state(), saved)
    uninterrupted = next(whole)
    assert len(draws) == 6
    assert any(drop is not None for drop in draws[:3])
    assert any(drop is not None for drop in draws[3:])
    saved.seek(0)
    torch.manual_seed(99)  # nothing may depend on what the process drew before
    (resumed,) = fit(config, device="cpu", threads=1, resume_from=torch.load(saved, weights_only=True))
    assert resumed.epoch == uninterrupted.epoch == 2
    assert _measured(resumed.metrics) == _measured(uninterrupted.metrics)
    _assert_equal(resumed.state(), uninterrupted.state())
    for before, after in zip(draws[3:6], draws[6:], strict=True):
        assert (before is None) == (after is None)
        if before is not None and after is not None:
            assert before.seed == after.seed
            assert torch.equal(before.keep_GC, after.keep_GC)


def _assert_valid(drop: Drop, groups: int, num_classes: int) -> None:
    """All sampled classes lie in [0, C), at most ``num_classes`` of them in a group, some in one group at least."""
    assert drop.keep_GC.shape == (groups, CLASSES)
    assert set(drop.keep_GC.unique().tolist()) <= {0.0, 1.0}
    dropped_G = (1 - drop.keep_GC).sum(dim=1)
    assert 1 <= dropped_G.max() <= num_classes


SAMPLING_CELLS = [
    (sampling, granularity, layer)
    for sampling, granularity, layer in product(_names(BuiltInSampling), _names(Granularity), LAYERS)
    if sampling != "listed" or layer in ("input", "decoder")  # it keeps no state
]


@pytest.mark.parametrize(("sampling", "granularity", "layer"), SAMPLING_CELLS)
def test_every_sampling_granularity_and_layer_resumes(
    make_trial, draws: list[Drop | None], sampling: str, granularity: str, layer: Any
) -> None:
    written: Any = LISTED if sampling == "listed" else sampling
    suppression = {"sampling": written, "granularity": granularity, "layer": layer}
    suppression |= {"schedule": "constant", "p_max": 0.7}
    config = make_trial(data=DATA, model=_model(layer), train=TRAIN, suppression=suppression)
    _assert_resumes(config, draws)
    for drop in draws:
        if drop is not None:
            # groups: rows of each image
            _assert_valid(drop, 1 if granularity == "batch" else 2, num_classes=2 if sampling == "listed" else 1)


@pytest.mark.parametrize("loss", _names(BuiltInLoss))
def test_every_loss_resumes(make_trial, draws: list[Drop | None], loss: str) -> None:
    """In both paths, with a class dropped per image; and with images drawn by class where the loss allows it."""
    data = DATA if loss == "logit_adjusted" else {**DATA, "rare_class_sampling": {}, "rare_copy_paste": 0.5}
    suppression = {"granularity": "image", "schedule": "constant", "p_max": 0.7, "loss_ramp": "constant"}
    train = {**TRAIN, "loss": loss, "class_weights": "log_frequency"}
    _assert_resumes(make_trial(data=data, train=train, suppression=suppression), draws)


MECHANISM_CELLS = [
    (mechanism, importance, layer)
    for mechanism, importance, layer in product(
        [name for name in _names(BuiltInMechanism) if name != "auto"],  # gate under another name
        ("classifier", "gradient", "auxiliary"),
        ("decoder", "encoder.2", ["encoder.3", "decoder"], ["branch.2", "decoder"]),
    )
    if (importance != "classifier" or layer == "decoder") and (mechanism != "erase" or importance == "auxiliary")
]


@pytest.mark.parametrize(("mechanism", "importance", "layer"), MECHANISM_CELLS)
def test_every_mechanism_and_importance_resumes(
    make_trial, draws: list[Drop | None], mechanism: str, importance: str, layer: Any
) -> None:
    """With several classes at once, per image, progress per step and the gate's norm, to cross these too."""
    suppression = {
        "mechanism": mechanism, "importance": importance, "layer": layer, "num_classes": 2, "granularity": "image",
        "progress": "iteration", "gate_norm": "mean", "schedule": "constant", "p_max": 0.7,
        "recalibrate": True,
        "gradient_every": 2,  # the checkpoint after 3 steps lies between two that compute gradients
    }  # fmt: skip
    _assert_resumes(make_trial(data=DATA, model=_model(layer), train=TRAIN, suppression=suppression), draws)
    for drop in draws:
        if drop is not None:
            _assert_valid(drop, groups=2, num_classes=2)
            assert set((1 - drop.keep_GC).sum(dim=1).tolist()) <= {0.0, 2.0}


def test_a_resumed_trial_does_not_begin_anew(make_trial) -> None:
    """The checkpoint matters: another one gives other numbers, and a finished trial has nothing left to do."""
    config = make_trial(data=DATA, train=TRAIN, suppression={"sampling": "difficulty"})
    states = []
    for result in fit(config, device="cpu", threads=1):
        saved = io.BytesIO()
        torch.save(result.state(), saved)
        saved.seek(0)
        states.append((result, torch.load(saved, weights_only=True)))
    (_, first), (last, second) = states
    first["model"]["classifier.weight"].zero_()
    (other,) = fit(config, device="cpu", threads=1, resume_from=first)
    assert other.metrics[names.TRAIN_LOSS] != last.metrics[names.TRAIN_LOSS]
    assert list(fit(config, device="cpu", threads=1, resume_from=second)) == []
