"""What images are normalised by: the statistics of the encoder's weights, wherever the network sees an image."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor

from trainable.model import weights
from trainable.model.config import ModelConfig
from trainable.model.encoders import ModelError
from trainable.model.input_statistics import input_statistics
from trainable.train import engine
from trainable.train.compute import IMAGENET, Compute, Normalization

HALF = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def model(encoder: str, encoder_weights: str | None = "imagenet") -> ModelConfig:
    return ModelConfig(arch="fpn", encoder=encoder, encoder_weights=encoder_weights)


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        ("tu-tf_efficientnet_lite0", HALF),
        ("tu-test_resnet", HALF),
        ("tu-resnet18", IMAGENET),
        ("tu-resnet18.a1_in1k", IMAGENET),
        ("tu-hrnet_w18_small_v2", IMAGENET),
    ],
)
def test_timm_tells_those_of_its_weights(encoder: str, expected: Normalization) -> None:
    assert input_statistics(model(encoder)) == expected
    assert input_statistics(model(encoder, None)) == IMAGENET, "random weights want none in particular"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A cache in which the weights of smp's own encoders lie, with these settings beside them."""
    monkeypatch.setattr(weights, "hf_hub_download", lambda *_, **__: "")
    monkeypatch.setattr(smp.encoders, "hf_hub_download", lambda *_, **__: str(tmp_path / "config.json"))

    def write(**settings: Any) -> None:
        (tmp_path / "config.json").write_text(json.dumps(settings))

    return write


def test_those_of_smps_encoders_lie_beside_the_weights(hub: Callable[..., None]) -> None:
    hub(mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6], input_space="RGB", input_range=[0, 1])
    assert input_statistics(model("inceptionv4")) == Normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    hub(mean=[51, 102, 127.5], std=[25.5, 51, 255], input_range=[0, 255])
    assert input_statistics(model("inceptionv4")) == Normalization((0.2, 0.4, 0.5), (0.1, 0.2, 1.0))


def test_weights_that_want_no_rgb_are_refused(hub: Callable[..., None]) -> None:
    hub(mean=[0, 0, 0], std=[1, 1, 1], input_space="BGR")
    with pytest.raises(ModelError, match=r"the 'imagenet' weights of 'vgg11' want BGR, not RGB"):
        input_statistics(model("vgg11"))


def test_bytes_are_normalised_by_them() -> None:
    images_B3HW = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    compute = Compute(torch.device("cpu"), normalization=Normalization((0.5, 0.1, 0.0), (0.5, 0.2, 2)))
    assert compute.network_input(images_B3HW).flatten().tolist() == pytest.approx([-1.0, 0.5, 0.5])


def test_training_evaluation_and_pictures_see_the_same_input(make_trial, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    network_input = Compute.network_input

    def spy(compute: Compute, images_B3HW: Tensor) -> Tensor:
        seen.append(compute.normalization)
        return network_input(compute, images_B3HW)

    monkeypatch.setattr(Compute, "network_input", spy)
    monkeypatch.setattr(engine, "input_statistics", lambda _: HALF)
    calls = []
    for result in engine.fit(make_trial(train={"epochs": 1}, suppression={}), device="cpu", threads=1):
        calls.append(len(seen))
        result.pictures()
        calls.append(len(seen))
    assert 3 < calls[0] < calls[1], "steps, splits and diagnostics; then pictures"
    assert set(seen) == {HALF}


def test_random_weights_train_on_the_same_input_as_ever(make_trial) -> None:
    result = next(engine.fit(make_trial(), device="cpu", threads=1))
    assert result.training.compute.normalization == IMAGENET


def test_timm_does_not_warn_of_the_head_that_no_encoder_has(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "whole.pth")
    with caplog.at_level(logging.WARNING, logger="timm"):
        overlay = {"file": str(tmp_path / "whole.pth")}
        timm.create_model("test_resnet", features_only=True, pretrained=True, pretrained_cfg_overlay=overlay)
    assert "Unexpected keys" not in caplog.text
    with caplog.at_level(logging.WARNING, logger="timm"):
        logging.getLogger("timm.models._builder").warning("something else")
    assert "something else" in caplog.text
