"""What is refused names the rule, and what is odd but allowed trains."""

import json
import math
from typing import Any, get_args

import pytest
import torch
from pydantic import ValidationError

from trainable.config import TrialConfig
from trainable.data.classes import IGNORE_INDEX
from trainable.data.frames import HeldFrames
from trainable.data.statistics import ClassStatistics
from trainable.evaluate.metrics import names
from trainable.model.build import build_model
from trainable.model.config import ModelConfig
from trainable.section import BUILT_IN
from trainable.suppression.config import SuppressionConfig
from trainable.suppression.drop import Drop
from trainable.suppression.sampling_sections import BuiltInSampling
from trainable.train.compute import choose_compute
from trainable.train.engine import prepare
from trainable.train.epoch import train_epoch
from trainable.train.step import Batch, two_path_losses

TREE = {
    "data": {"name": "shapes", "size": [32, 32]},
    "model": {"arch": "linknet", "encoder": "tu-test_resnet", "encoder_weights": None},
    "train": {"epochs": 1, "batch_size": 2},
}


def option(key: str, name: str, **settings: Any) -> dict[str, Any]:
    return {key: {"name": name, **settings}}


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    (option("sampling", "inverse_frequency", tau=-1), "suppression.sampling.inverse_frequency.tau", "greater than 0"),
    (option("sampling", "difficulty", tau=-0.5), "suppression.sampling.difficulty.tau", "greater than 0"),
    (option("sampling", "difficulty", momentum=1), "suppression.sampling.difficulty.momentum", "less than 1"),
    (option("sampling", "effective_number", beta=1), "suppression.sampling.effective_number.beta", "less than 1"),
    (
        option("sampling", "temperature", temperature=0),
        "suppression.sampling.temperature.temperature",
        "than or equal to 0.000001",
    ),
    (option("sampling", "uniform", tau=1), "suppression.sampling.uniform.tau", "not permitted"),
    (option("mechanism", "hard", q=0), "suppression.mechanism.hard.q", "greater than 0"),
    (option("mechanism", "hard", q=1), "suppression.mechanism.hard.q", "less than 1"),
    (option("mechanism", "gate", q=0.5), "suppression.mechanism.gate.q", "not permitted"),
    (option("schedule", "warmup_constant", warmup=0), "suppression.schedule.warmup_constant.warmup", "than 0"),
    (option("loss_ramp", "constant", weight=1.5), "suppression.loss_ramp.constant.weight", "equal to 1"),
    ({"num_classes": 6}, "", "suppression.num_classes: must be below the number of classes, shapes has 6; got 6"),
    ({"num_classes": 60}, "", "must be below the number of classes, shapes has 6; got 60"),
    ({"num_classes": 0}, "suppression.num_classes", "greater than or equal to 1"),
    ({"p_max": 1.1}, "suppression.p_max", "less than or equal to 1"),
    ({"start": 1}, "suppression.start", "less than 1"),
    ({"start": -0.1}, "suppression.start", "greater than or equal to 0"),
    ({"start": "late"}, "suppression.start", "valid number"),
    ({"p_max": "high"}, "suppression.p_max", "valid number"),
    ({"alpha": -1}, "suppression.alpha", "greater than or equal to 0"),
    ({"alpha": 31}, "suppression.alpha", "less than or equal to 30"),
    ({"layer": ["decoder", "decoder"]}, "suppression.layer", "lists a layer twice"),
    ({"layer": ["encoder.2", "decoder", "encoder.2"]}, "suppression.layer", "lists a layer twice"),
    ({"layer": []}, "suppression.layer", "at least 1 item"),
    ({"layer": "encoder.6"}, "suppression.layer", "'encoder.5'"),
    ({"layer": ["encoder.0"]}, "suppression.layer", "'encoder.1'"),
    (
        {"layer": ["decoder", "branch.2"]},
        "",
        "suppression.layer: 'linknet' has no 'branch.2'; it has input, encoder.1,",
    ),
    ({"layer": "encoder.2", "importance": "classifier"}, "suppression", "fit the decoder's channels only"),
    ({"layer": ["decoder", "encoder.4"], "importance": "classifier"}, "suppression", "or gradient at encoder.4"),
    ({"importance": "cam"}, "suppression.importance", "'gradient'"),
    ({"granularity": "pixel"}, "suppression.granularity", "'batch', 'image', 'groups'"),
    ({"granularity": {"name": "groups", "shares": []}}, "suppression.granularity.groups.shares", "at least 1 item"),
    ({"granularity": {"name": "groups", "shares": [1, 0]}}, "suppression.granularity.groups.shares.1", "equal to 1"),
    ({"granularity": {"name": "groups", "shares": [0.5]}}, "suppression.granularity.groups.shares.0", "valid integer"),
    ({"granularity": {"name": "batch", "shares": [1]}}, "suppression.granularity.batch.shares", "not permitted"),
    ({"progress": "step"}, "suppression.progress", "'epoch' or 'iteration'"),
    ({"gate_norm": "max"}, "suppression.gate_norm", "'none' or 'mean'"),
    ({"sampling": "unifrom"}, "suppression.sampling", "'uniform', 'present'"),
    ({"sampling": {"tau": 1}}, "suppression.sampling", "'name'"),
    ({"sampling": 3}, "suppression.sampling", "object"),
    ({"mechanism": "gates"}, "suppression.mechanism", "'gate', 'hard', 'projection', 'random_channels'"),
    ({"schedule": "warmup"}, "suppression.schedule", "'warmup_constant'"),
    ({"loss_ramp": "warmup_constant"}, "suppression.loss_ramp", "'linear', 'constant', 'cosine'"),
    ({"classes": 2}, "suppression.classes", "not permitted"),
]


@pytest.mark.parametrize(("suppression", "place", "rule"), REFUSED)
def test_a_bad_value_is_refused_with_the_rule(suppression: dict[str, Any], place: str, rule: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TrialConfig.model_validate_json(json.dumps({**TREE, "suppression": suppression}))
    places = [[key for key in mistake["loc"] if key != BUILT_IN] for mistake in caught.value.errors()]
    messages = [mistake["msg"] for mistake in caught.value.errors()]
    told = [(".".join(map(str, keys)), message) for keys, message in zip(places, messages, strict=True)]
    assert any(where.startswith(place) and rule in message for where, message in told), told


HRNET = {**TREE, "model": {"arch": "hrnet", "encoder": "tu-hrnet_w18_small", "encoder_weights": None}}


def test_hrnet_has_layers_and_encoders_of_its_own() -> None:
    """Told before anything is built, with what would be right."""
    assert TrialConfig.model_validate_json(json.dumps({**HRNET, "suppression": {"layer": ["branch.4", "decoder"]}}))
    with pytest.raises(ValidationError) as caught:
        TrialConfig.model_validate_json(json.dumps({**HRNET, "suppression": {"layer": "encoder.2"}}))
    assert "suppression.layer: 'hrnet' has no 'encoder.2'; it has input, branch.1, branch.2," in str(caught.value)
    for encoder in ("resnet18", "tu-resnet18", "mit_b0", "tu-hrnets"):
        with pytest.raises(
            ValidationError, match=r"model\.encoder: 'hrnet' takes the branches of an HRNet, tu-hrnet_w18"
        ):
            TrialConfig.model_validate_json(json.dumps({**HRNET, "model": {"arch": "hrnet", "encoder": encoder}}))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("key", ["alpha", "p_max"])
def test_numbers_that_are_none_are_refused(key: str, number: str) -> None:
    with pytest.raises(ValidationError, match=rf"suppression\.{key}"):
        TrialConfig.model_validate_json(json.dumps({**TREE, "suppression": {}}).replace("{}", f'{{"{key}": {number}}}'))


@pytest.mark.parametrize("suppression", [{"num_classes": 5}, {"alpha": 30, "p_max": 0}, {"layer": ["encoder.1"]}])
def test_values_at_the_edge_are_taken(suppression: dict[str, Any]) -> None:
    assert TrialConfig.model_validate_json(json.dumps({**TREE, "suppression": suppression})).suppression is not None


def test_layers_stand_in_the_order_of_the_network() -> None:
    suppression = SuppressionConfig(layer=("decoder", "input", "encoder.4", "encoder.2"))
    assert suppression.layers == ("input", "encoder.2", "encoder.4", "decoder")
    assert SuppressionConfig(layer=("decoder", "branch.3", "input")).layers == ("input", "branch.3", "decoder")


STRATEGIES = [get_args(m.model_fields["name"].annotation)[0] for m in get_args(get_args(BuiltInSampling)[0])]


@pytest.mark.parametrize("granularity", ["batch", "image", "groups"])
@pytest.mark.parametrize("sampling", STRATEGIES)
def test_only_ignored_pixels_train_without_nan(make_trial, sampling: str, granularity: str) -> None:
    """Not one labelled pixel in the training set: no statistics, no class present, no cross-entropy."""
    written: Any = {"name": sampling, "classes": ["sand", "meadow"]} if sampling == "listed" else sampling
    suppression = {"sampling": written, "granularity": granularity, "schedule": "constant", "loss_ramp": "constant"}
    config = make_trial(suppression=suppression)
    training = prepare(config, choose_compute("cpu", "auto"), 8, ClassStatistics.of([[0] * 6] * 8))
    frames = HeldFrames(torch.zeros(8, 3, 32, 32).byte(), torch.full((8, 32, 32), IGNORE_INDEX).byte())
    metrics = train_epoch(training, frames, 1)
    assert metrics[names.TRAIN_CE] == metrics[names.TRAIN_SUPPRESSED_CE] == 0
    assert metrics[names.TRAIN_DROPPED] == 1
    assert metrics[names.TRAIN_LOSS] == pytest.approx(10 * metrics[names.TRAIN_SUPPRESSION])
    assert all(math.isfinite(value) for value in metrics.values())
    assert all(torch.isfinite(p).all() for p in training.model.parameters())


@pytest.mark.parametrize("layer", ["decoder", "encoder.2", ("encoder.3", "decoder")])
def test_gradient_importance_without_gradients_says_why(layer: Any) -> None:
    torch.manual_seed(0)
    suppression = SuppressionConfig(layer=layer, importance="gradient")
    model = build_model(ModelConfig(arch="linknet", encoder="tu-test_resnet", encoder_weights=None), 3, suppression)
    batch, drop = Batch(torch.rand(2, 3, 32, 32), torch.zeros(2, 32, 32).long()), Drop.of(1, 3)
    model.train()
    with torch.no_grad(), pytest.raises(RuntimeError, match=r"gradient importance needs gradients.*torch\.no_grad"):
        two_path_losses(model, batch, drop, None)
    model.eval()
    with torch.no_grad():  # evaluation takes the running mean
        losses, _ = two_path_losses(model, batch, drop, None)
    assert torch.isfinite(losses.total(0.5, 10))
