"""The contracts of parts: the product's own parts keep them, and each rule is broken by a part that it is there for."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from trainable.data.config import ShapesData
from trainable.data.splits import array_splits
from trainable.evaluate.metrics.confusion import class_ious, confusion_matrix, mean_iou
from trainable.loss.build import build_loss
from trainable.loss.config import BuiltInLoss
from trainable.model.build import build_model
from trainable.model.config import ModelConfig
from trainable.parts import ClassFacts, DataSet, Loss, Mechanism, Metric, Model, PixelLoss, Sampling
from trainable.parts.loading import PartFailed
from trainable.suppression.config import SuppressionConfig
from trainable.suppression.drop import Drop
from trainable.suppression.mechanism import effective_weight
from trainable.suppression.mechanism_sections import BuiltInMechanism
from trainable.suppression.sampling import ClassSampler
from trainable.suppression.sampling_sections import BuiltInSampling
from trainable.testing import (
    check_data_set,
    check_loss,
    check_mechanism,
    check_metric,
    check_model,
    check_sampling,
)
from trainable.testing.contract import TINY, Contract

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _rules_alone(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Whole trials of built-in parts are tests/trainable/test_contract.py's; of own ones some tests ask for them."""
    if "whole_trial" not in request.fixturenames:
        monkeypatch.setattr(Contract, "whole_trial", False)


@pytest.fixture
def whole_trial() -> None:
    """Asked for by tests that train."""


def names(union: Any) -> list[str]:
    return [get_args(member.model_fields["name"].annotation)[0] for member in get_args(get_args(union)[0])]


class BuiltIn(Mechanism):
    def __init__(self, built_in: str, norm: str = "none") -> None:
        self.section = TypeAdapter(BuiltInMechanism).validate_python({"name": built_in})
        self.norm: Any = norm

    def channels(self, importance_CK: Tensor, keep_GC: Tensor | None, seed: int) -> Tensor:
        drop = None if keep_GC is None else Drop(keep_GC, seed)
        matrix: Tensor = effective_weight(
            torch.eye(importance_CK.shape[1]), importance_CK, drop, self.section, self.norm
        )
        groups = 1 if keep_GC is None else len(keep_GC)
        return matrix.expand(groups, *matrix.shape[-2:])


@pytest.mark.parametrize("norm", ["none", "mean"])
@pytest.mark.parametrize("name", [name for name in names(BuiltInMechanism) if name not in ("auto", "erase")])
def test_built_in_mechanisms_keep_the_contract(name: str, norm: str) -> None:
    check_mechanism(BuiltIn, built_in=name, norm=norm)


class BuiltInStrategy(Sampling):
    def __init__(self, built_in: str, **settings: Any) -> None:
        lists = {key: tuple(value) for key, value in settings.items()}
        self.config = SuppressionConfig(sampling={"name": built_in, **lists}, granularity="image")  # type: ignore[arg-type]

    def begin(self, facts: ClassFacts) -> None:
        self.sampler = ClassSampler(self.config, facts.statistics, CPU, facts.names)

    def weights(self, labels_BHW: Tensor) -> Tensor:
        return self.sampler.weights(labels_BHW)

    def observe(self, logits_BChw: Tensor, labels_BHW: Tensor, drop: Drop | None) -> None:
        self.sampler.observe(logits_BChw, labels_BHW, drop)

    def state_dict(self) -> dict[str, object]:
        return self.sampler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.sampler.load_state_dict(dict(state))


@pytest.mark.parametrize("name", names(BuiltInSampling))
def test_built_in_samplings_keep_the_contract(name: str) -> None:
    check_sampling(BuiltInStrategy, built_in=name, **({"classes": ["car", "sign"]} if name == "listed" else {}))


class BuiltInPathLoss(Loss):
    def __init__(self, built_in: str) -> None:
        self.section = TypeAdapter(BuiltInLoss).validate_python({"name": built_in})

    def begin(self, facts: ClassFacts) -> None:
        self.loss = build_loss(self.section, facts.statistics, CPU)

    def batch(self, logits_BCHW: Tensor, labels_BHW: Tensor, class_weights_C: Tensor | None) -> Tensor:
        return self.loss([logits_BCHW], [labels_BHW], nn.Identity(), class_weights_C)[0]


@pytest.mark.parametrize("name", names(BuiltInLoss))
def test_built_in_losses_keep_the_contract(name: str) -> None:
    check_loss(BuiltInPathLoss, built_in=name)


class MeanIou(Metric):
    def begin(self, facts: ClassFacts) -> None:
        self.classes = len(facts.names)

    def measure(self, logits_BCHW: Tensor, labels_BHW: Tensor) -> Tensor:
        return confusion_matrix(labels_BHW, logits_BCHW.argmax(dim=1), self.classes)

    def value(self, total: Tensor) -> float:
        return mean_iou(class_ious(total.long()), range(self.classes))

    def per_class(self, total: Tensor) -> Sequence[float]:
        return class_ious(total.long()).tolist()


class BuiltInScenes(DataSet):
    def __init__(self) -> None:
        self.data = ShapesData(name="shapes", size=(32, 32), train_images=4, val_images=2)

    def count(self, split: Any) -> int:
        return len(array_splits(self.data)[split])

    def frame(self, split: Any, index: int, size: Any) -> Any:
        frames = array_splits(self.data)[split]
        return np.ascontiguousarray(frames.image(index).transpose(1, 2, 0)), frames.label(index)


class BuiltInNetwork(Model):
    def __init__(self, classes: int) -> None:
        super().__init__()
        built = build_model(ModelConfig.model_validate_json(json.dumps(TINY["model"])), classes, None)
        self.encoder, self.decoder, self.classifier = built.encoder, built.decoder, built.classifier

    def features(self, images_B3HW: Tensor) -> Tensor:
        maps_BKhw: Tensor = self.decoder(self.encoder(images_B3HW))
        return maps_BKhw


@pytest.mark.usefixtures("whole_trial")
def test_metric_data_and_network_of_the_product_keep_theirs_in_a_trial_too() -> None:
    check_metric(MeanIou)
    check_data_set(BuiltInScenes, classes=["a", "b", "c", "d", "e", "f"], size=(32, 32))
    check_model(BuiltInNetwork)


class Rotten(Mechanism):
    """Breaks the rule that its setting names."""

    calls = 0

    def __init__(self, how: str) -> None:
        self.how = how

    def channels(self, importance_CK: Tensor, keep_GC: Tensor | None, seed: int) -> Any:
        groups, channels = 1 if keep_GC is None else len(keep_GC), importance_CK.shape[1]
        self.calls += 1
        match self.how:
            case "shape":
                return torch.ones(channels)
            case "type":
                return torch.ones(groups, channels, dtype=torch.int64)
            case "list":
                return [1.0] * channels
            case "nan":
                return importance_CK.relu().sum(0, keepdim=True).log().expand(groups, -1)
            case "draws":
                return torch.rand(groups, channels)
            case "changes":
                importance_CK.clamp_(min=0)
                return torch.ones(groups, channels)
            case "groups":
                return torch.full((groups, channels), 1.0 if keep_GC is None else float(keep_GC.mean()))
            case "forgets":
                return torch.full((groups, channels), float(self.calls))
            case _:
                raise KeyError(self.how)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("shape", r"channels\(\) gave shape \[8\]; expected \[1,8\] or \[1,8,8\]"),
        ("type", "channels\\(\\) gave torch.int64; expected a float type"),
        ("list", "channels\\(\\) gave a list, not a tensor"),
        ("nan", "channels\\(\\) gave values that are not finite"),
        ("draws", "draws from torch's global generator|not the same bits|depends on the others"),
        ("changes", "arguments"),
        ("groups", "depends on the others"),
        ("forgets", "after a checkpoint|depends on the others"),
        ("raises", r"Rotten: KeyError: 'raises' \(.*test_contracts\.py:\d+ in channels\)"),
    ],
)
def test_a_rotten_mechanism_is_told(how: str, told: str) -> None:
    with pytest.raises((AssertionError, PartFailed), match=told):
        check_mechanism(Rotten, how=how)


class Forgetful(Sampling):
    def __init__(self, how: str = "forgets") -> None:
        self.how, self.turn = how, 0

    def weights(self, labels_BHW: Tensor) -> Tensor:
        self.turn += 1
        weights_C = torch.zeros(4)
        weights_C[self.turn % 4] = -1 if self.how == "negative" else 1
        return weights_C[:3] if self.how == "short" else weights_C

    def state_dict(self) -> dict[str, object]:
        return {"turn": np.int64(self.turn)} if self.how == "numpy" else {}


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("forgets", "after a checkpoint"),
        ("negative", "weights\\(\\) gave 0, -1, 0, 0; each must be finite and at least 0"),
        ("short", r"weights\(\) gave shape \[3\]; expected \[4\]"),
        ("numpy", r"state_dict\(\)\['turn'\] is a int64; a checkpoint holds tensors"),
    ],
)
def test_a_rotten_sampling_is_told(how: str, told: str) -> None:
    with pytest.raises((AssertionError, PartFailed), match=told):
        check_sampling(Forgetful, how=how)


class Leaky(PixelLoss):
    def __init__(self, how: str) -> None:
        self.how = how

    def pixels(self, logits_BCHW: Tensor, labels_BHW: Tensor, class_weights_C: Tensor | None) -> Tensor:
        known_BHW = torch.where(labels_BHW == 255, 0, labels_BHW)
        losses = nn.functional.cross_entropy(logits_BCHW, known_BHW, class_weights_C, reduction="none")
        match self.how:
            case "ignored":
                return losses
            case "constant":
                return torch.ones_like(losses.detach())
            case "mean":
                return losses.mean()
            case "weights":
                return nn.functional.cross_entropy(logits_BCHW, labels_BHW, ignore_index=255, reduction="none")
            case _:
                return -losses * (labels_BHW != 255)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("ignored", "gave a loss for pixels labelled 255"),
        ("constant", "does not depend on the logits"),
        ("mean", r"gave shape \[\]; expected \[3, 8, 8\]"),
        ("weights", "class weights are no factors"),
        ("upside down", "wrong logits have no larger loss"),
    ],
)
def test_a_rotten_loss_is_told(how: str, told: str) -> None:
    with pytest.raises((AssertionError, PartFailed), match=told):
        check_loss(Leaky, how=how)


class Median(Metric):
    def measure(self, logits_BCHW: Tensor, labels_BHW: Tensor) -> Tensor:
        return logits_BCHW.softmax(dim=1).amax(dim=1).median()

    def value(self, total: Tensor) -> float:
        return float(total)


class Moody(DataSet):
    def count(self, split: Any) -> int:
        return 2

    def frame(self, split: Any, index: int, size: Any) -> Any:
        return np.random.default_rng().integers(0, 255, (*size, 3), np.uint8), np.full(size, index * 3, np.uint8)


class Batchy(Model):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(3, classes, 1)
        self.unused = nn.Linear(2, 2)

    def features(self, images_B3HW: Tensor) -> Tensor:
        return images_B3HW - images_B3HW.mean(dim=0, keepdim=True)


def test_a_metric_that_is_no_sum_a_moody_data_set_and_a_network_that_mixes_images_are_told() -> None:
    with pytest.raises(AssertionError, match=r"val/median: .* of a batch, .* one by one|change the metric"):
        check_metric(Median)
    with pytest.raises(
        (AssertionError, PartFailed), match=r"label with id 3; 2 classes have the ids 0 to 1|other bytes"
    ):
        check_data_set(Moody, classes=["a", "b"])
    with pytest.raises(AssertionError, match=r"unused\.weight gets no gradient|depends on the batch"):
        check_model(Batchy)
