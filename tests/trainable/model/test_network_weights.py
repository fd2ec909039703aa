"""A whole network from a file: training goes on from an exported baseline."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tests.trainable import tiny_hrnet
from trainable.model.build import build_model, check_model
from trainable.model.config import ModelConfig
from trainable.model.encoders import ModelError
from trainable.model.export import save
from trainable.model.segmenter import Segmenter
from trainable.suppression.config import SuppressionConfig
from trainable.train.engine import fit

LINKNET = {"arch": "linknet", "encoder": "tu-test_resnet", "encoder_weights": None}
HRNET = {"arch": "hrnet", "encoder": tiny_hrnet.ENCODER, "encoder_weights": None}


def config(section: dict[str, Any], path: Path | None = None, **settings: Any) -> ModelConfig:
    weights = {} if path is None else {"weights": str(path)}
    return ModelConfig.model_validate_json(json.dumps({**section, **weights, **settings}))


def trained(section: dict[str, Any], classes: int = 4, suppression: SuppressionConfig | None = None) -> Segmenter:
    """With statistics and scales as after a training."""
    torch.manual_seed(3)
    model = build_model(config(section), classes, suppression)
    for value in model.state_dict().values():
        if isinstance(value, Tensor) and value.is_floating_point():
            value.uniform_(0.01, 0.1)
    return model.eval()


@pytest.mark.parametrize("section", [LINKNET, HRNET], ids=["linknet", "hrnet"])
@pytest.mark.parametrize("init", ["torch", "small"])
def test_an_exported_baseline_is_where_training_goes_on(tmp_path: Path, section: dict[str, Any], init: str) -> None:
    """The plain trial predicts as the baseline did, and a trial with a block starts from the same weights."""
    baseline, path = trained(section), tmp_path / "baseline.safetensors"
    save(baseline, config(section), path)
    again = config(section, path, init=init)
    check_model(again, classes=4)
    images_B3HW = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = baseline(images_B3HW)
        torch.testing.assert_close(build_model(again, 4, None).eval()(images_B3HW), expected, rtol=0, atol=0)
        suppressed = build_model(again, 4, SuppressionConfig()).eval()
        plain = suppressed.plain(images_B3HW).logits_BChw
        torch.testing.assert_close(suppressed.upsample(plain), expected, rtol=0, atol=0)


def test_a_trials_checkpoint_is_read_too(tmp_path: Path, make_trial: Any) -> None:
    result = next(fit(make_trial(train={"epochs": 1}), device="cpu", threads=1))
    torch.save(result.state(), tmp_path / "checkpoint.pt")
    state = build_model(config(LINKNET, tmp_path / "checkpoint.pt"), 6, None).state_dict()
    theirs = result.training.model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in theirs.items() if "num_batches" not in key)


def other_classes(path: Path) -> None:
    save(trained(LINKNET, 7), config(LINKNET), path)


def with_a_block(path: Path) -> None:
    torch.save(trained(LINKNET, 4, SuppressionConfig()).state_dict(), path.with_suffix(".pt"))


def folded(path: Path) -> None:
    save(trained(LINKNET, 4, SuppressionConfig(layer="encoder.2", importance="gradient")), config(LINKNET), path)


def of_unet(path: Path) -> None:
    save(trained({**LINKNET, "arch": "unet"}), config({**LINKNET, "arch": "unet"}), path)


def an_encoder(path: Path) -> None:
    torch.save(trained(LINKNET).encoder.state_dict(), path.with_suffix(".pt"))


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (
            other_classes,
            "has 'classifier.weight' [7, 32, 1, 1] where the network has 'classifier.weight' [4, 32, 1, 1]",
        ),
        (with_a_block, "is of a network with a suppression block; export one that was trained without"),
        (folded, "has no 'encoder.model"),
        (of_unet, "has no 'decoder.blocks.0.block.0.0.weight'"),
        (an_encoder, "has no 'encoder.model.conv1.0.weight' [16, 3, 3, 3], and "),
        (lambda path: path.write_bytes(b"x" * 99), "damaged, or no weights alone"),
    ],
)
def test_another_network_is_one_clear_line(tmp_path: Path, write: Callable[[Path], Any], said: str) -> None:
    write(tmp_path / "w.safetensors")
    (path,) = tmp_path.iterdir()
    for attempt in (
        lambda: check_model(config(LINKNET, path), classes=4),
        lambda: build_model(config(LINKNET, path), 4, None),
    ):
        with pytest.raises(ModelError) as caught:
            attempt()
        assert str(caught.value).startswith(f"model.weights: {path}: {said}")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("written", ["imagenet", "runs:/0123", "nowhere/w.pt", 3])
def test_what_is_no_file_is_refused(written: Any) -> None:
    with pytest.raises(ValidationError, match="weights"):
        config({**LINKNET, "weights": written})
