"""Arms of a block differ in nothing but what they name: same data order, augmentation and initial weights."""

import json
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from trees import camvid_tree, picture, png

from trainable.config import TrialConfig
from trainable.data.frames import load_splits
from trainable.data.statistics import train_statistics
from trainable.presets import PRESETS
from trainable.train.compute import choose_compute
from trainable.train.engine import fit, prepare
from trainable.train.epoch import train_epoch
from trainable.train.step import Batch

DRAWING = ("rare_class_sampling", "rare_copy_paste")
"""What they name is which images are seen, or what is pasted into them."""
SMALL = [name for name, settings in PRESETS.items() if "model.init" in settings]


def trial(preset: str, seed: int = 3) -> TrialConfig:
    tree: dict[str, Any] = {
        "preset": preset,
        "data": {"name": "shapes", "size": [32, 32], "train_images": 12, "val_images": 2, "augment": {"flip": True}},
        "model": {"arch": "linknet", "encoder": "tu-test_resnet", "encoder_weights": None},
        "train": {"epochs": 2, "batch_size": 4},
        "suppression": {"gate_norm": "mean", "alpha": 0.3, "layer": "encoder.4"},
        "seed": seed,
    }
    return TrialConfig.model_validate_json(json.dumps(tree))


def observed(config: TrialConfig) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Initial weights by name, and the images and labels of every step of two epochs."""
    compute, seen = choose_compute("cpu", config.train.precision), []
    splits = load_splits(config.data)
    training = prepare(config, compute, len(splits.train), train_statistics(config.data))
    weights = {name: value.detach().clone() for name, value in training.model.named_parameters()}

    def note(images: Tensor, labels: Tensor) -> Batch:
        seen.extend([images.clone(), labels.clone()])
        return Batch(images, labels)

    with mock.patch("trainable.train.epoch.Batch", note):
        for epoch in (1, 2):
            train_epoch(training, splits.train, epoch)
    return weights, seen


@pytest.mark.parametrize("arm", [name for name in PRESETS if name != "none"])
def test_arms_of_a_block_begin_alike_and_see_the_same_batches(arm: str) -> None:
    """Those from small initial weights among each other."""
    weights, batches = observed(trial("plain_small" if arm in SMALL else "plain"))
    found_weights, found_batches = observed(trial(arm))
    assert len(batches) == len(found_batches) == 2 * 2 * 3
    alike = [torch.equal(ours, theirs) for ours, theirs in zip(found_batches, batches, strict=True)]
    assert all(alike) == (arm not in DRAWING)
    shared = [name for name in weights if name in found_weights and found_weights[name].shape == weights[name].shape]
    assert len(shared) == len(weights), "the plain network is a part of every arm's"
    assert all(torch.equal(found_weights[name], weights[name]) for name in shared)


def test_another_block_differs() -> None:
    weights, batches = observed(trial("plain"))
    other_weights, other_batches = observed(trial("plain", seed=4))
    assert not all(map(torch.equal, batches, other_batches))
    assert not all(torch.equal(weights[name], other_weights[name]) for name in weights)


def test_the_test_split_is_scored_once_at_the_end(tmp_path: Any) -> None:
    import numpy as np

    data = camvid_tree(tmp_path)
    rng = np.random.default_rng(1)
    for index in range(3):
        png(tmp_path / "test" / f"{index:03}.png", picture(rng))
        png(tmp_path / "testannot" / f"{index:03}.png", rng.integers(0, 12, (32, 64)))
    tree = json.loads(trial("plain").model_dump_json()) | {"data": data.model_dump(mode="json"), "preset": None}
    tree["train"]["batch_size"] = 2
    plain = TrialConfig.model_validate_json(json.dumps(tree))
    tested = TrialConfig.model_validate_json(json.dumps(tree | {"evaluation": {"test_at_end": True}}))
    on_test = TrialConfig.model_validate_json(json.dumps(tree | {"data": tree["data"] | {"eval_split": "test"}}))
    runs = [[dict(result.metrics) for result in fit(config, threads=1)] for config in (plain, tested, on_test)]
    first, last = runs[1]
    assert not any(name.startswith("test/") for name in (*first, *runs[0][1]))
    for name, expected in (
        ("test/miou", "val/miou"),
        ("test/iou/sky", "val/iou/sky"),
    ):
        assert last[name] == runs[2][1][expected], "what an evaluation on the test split finds"
    assert last["val/miou"] == runs[0][1]["val/miou"], "it changes nothing else"
