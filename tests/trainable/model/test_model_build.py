from pathlib import Path
from typing import Any, get_args

import huggingface_hub
import pytest
import segmentation_models_pytorch as smp
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import Tensor

from tests.trainable import tiny_hrnet
from trainable.model import build, weights
from trainable.model.build import DILATED_ARCHS, DILATED_RULE, build_model, check_model
from trainable.model.config import Arch, ModelConfig
from trainable.model.encoders import ENCODERS, ModelError
from trainable.model.weights import fetch_weights
from trainable.suppression.config import SuppressionConfig


def model(arch: str = "linknet", encoder: str = "resnet18", encoder_weights: str | None = None) -> ModelConfig:
    """Unchecked: the section itself refuses smp's unknown encoders, and smp has the last word here."""
    return ModelConfig.model_construct(arch=arch, encoder=encoder, encoder_weights=encoder_weights, init="torch")


SMP_ARCHS = [arch for arch in get_args(Arch) if arch != "hrnet"]


def test_names_are_those_of_the_installed_smp() -> None:
    assert set(ENCODERS) == set(smp.encoders.encoders)
    assert len(ENCODERS) == len(set(ENCODERS))
    assert set(SMP_ARCHS) == set(smp.MODEL_ARCHITECTURES_MAPPING) - {"dpt"}


@pytest.mark.parametrize("arch", SMP_ARCHS)
def test_the_split_model_computes_what_smp_computes(arch: str) -> None:
    torch.manual_seed(0)
    ours = build_model(model(arch), 3, None).eval()
    torch.manual_seed(0)
    theirs = smp.create_model(arch, "resnet18", encoder_weights=None, classes=3).eval()
    images = torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


TINY_HRNET = model("hrnet", tiny_hrnet.ENCODER)


@pytest.mark.parametrize(
    "layer", ["decoder", "encoder.3", ("encoder.4", "decoder"), "branch.2", ("branch.1", "decoder")]
)
def test_suppression_leaves_the_other_initial_weights(layer: Any) -> None:
    config = TINY_HRNET if "branch" in str(layer) else model(encoder="tu-test_resnet")
    torch.manual_seed(0)
    plain = build_model(config, 3, None).state_dict()
    torch.manual_seed(0)
    built = build_model(config, 3, SuppressionConfig(layer=layer))
    suppressed = built.state_dict()
    assert set(suppressed) - set(plain) == {key for key in suppressed if key.startswith("blocks.")} != set()
    assert all(torch.equal(value, suppressed[key]) for key, value in plain.items())
    assert built.layers == ((layer,) if isinstance(layer, str) else layer)


def kinds_of(state: dict[str, Tensor]) -> dict[str, str]:
    """What of the weights that `small` may change each key is."""
    parts = {
        "classifier.weight": "classifier",
        "decoder.mix.0.weight": "head",
        ".mix.conv.weight": "block",
        ".auxiliary.weight": "block",
    }
    return {key: next((kind for end, kind in parts.items() if key.endswith(end)), "") for key in state}


@pytest.mark.parametrize(
    ("config", "layer", "small"),
    [
        (model(encoder="tu-test_resnet"), None, {"classifier"}),
        (model("fpn", "tu-test_resnet"), "decoder", {"classifier", "block"}),
        (model(encoder="tu-test_resnet"), ("encoder.3", "decoder"), {"classifier", "block"}),
        (TINY_HRNET, None, {"classifier", "head"}),
        (TINY_HRNET, ("branch.2", "decoder"), {"classifier", "head", "block"}),
    ],
)
def test_small_initial_weights_are_those_of_the_official_code(config: ModelConfig, layer: Any, small: set[str]) -> None:
    """N(0, 0.001) where it says so, the same as with torch's elsewhere; with a block the others as without it."""
    suppression = None if layer is None else SuppressionConfig(layer=layer)
    states = []
    for init, block in (("torch", suppression), ("small", suppression), ("small", None)):
        torch.manual_seed(0)
        states.append(build_model(config.model_copy(update={"init": init}), 19, block).state_dict())
    torch_state, small_state, plain_state = states
    kinds = kinds_of(small_state)
    assert {kind for kind in kinds.values() if kind} == small
    for key, value in small_state.items():
        if kinds[key]:
            assert value.mean().abs() < 5 * 0.001 / value.numel() ** 0.5
            assert value.std() == pytest.approx(0.001, rel=4 / value.numel() ** 0.5)
        elif not key.startswith("blocks."):  # of which what is random comes later
            assert torch.equal(value, torch_state[key]), key
    assert all(torch.equal(value, small_state[key]) for key, value in plain_state.items())


@pytest.mark.parametrize(
    ("config", "layer", "said"),
    [
        (model("fpn", "mit_b0"), "encoder.1", "no such map; it has encoder.2, encoder.3, encoder.4, encoder.5"),
        (model("pspnet"), "encoder.4", "no such map; it has encoder.1, encoder.2, encoder.3"),
        (model(encoder="tu-hrnet_w18_small_v2"), "encoder.3", "does not run on this map alone"),
        (model(encoder="dpn68"), "encoder.2", "does not run on this map alone"),
        (TINY_HRNET, "encoder.2", "has branch.1, branch.2, branch.3, branch.4"),
        (model(), "branch.2", "has encoder.1, encoder.2, encoder.3, encoder.4, encoder.5"),
    ],
)
def test_a_layer_that_cannot_be_suppressed_is_one_clear_line(config: ModelConfig, layer: Any, said: str) -> None:
    told = []
    for attempt in (
        lambda: check_model(config, [layer]),
        lambda: build_model(config, 3, SuppressionConfig(layer=layer)),
    ):
        with pytest.raises(ModelError) as caught:
            attempt()
        told.append(str(caught.value))
    assert told[0] == told[1]
    where = f"'{layer}' cannot be suppressed in '{config.encoder}' under '{config.arch}'"
    assert told[0].startswith(f"suppression.layer: {where}: the ")
    assert said in told[0]
    assert "\n" not in told[0]


def test_a_layer_that_exists_passes() -> None:
    check_model(model(encoder="tu-test_resnet"), ["encoder.5", "decoder"])
    check_model(TINY_HRNET, ["branch.1", "branch.4", "decoder"])
    check_model(TINY_HRNET)


UNDILATED = ("tu-vgg11", "tu-hrnet_w18", "tu-pvt_v2_b0", "tu-edgenext_xx_small", "densenet121")
"""Encoders at which the libraries stumble with an assertion, an unexpected keyword and words of their own."""


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (model(encoder="resnet81"), "unknown 'resnet81'; did you mean resnet18"),
        (model(encoder="tu-resnet_18"), "did you mean tu-"),
        (model(encoder="timm-regnetx_002"), "tu-regnetx_002"),
        (model(encoder="tu-resnet18.no_such_tag"), "unknown 'tu-resnet18.no_such_tag'"),
        (model(encoder="zzzz"), "unknown 'zzzz'; valid: any encoder"),
        (model(encoder_weights="swag"), "'resnet18' has no weights 'swag'; one of imagenet, ssl, swsl, null"),
        (model(encoder="tu-resnet18", encoder_weights="ssl"), "carries its weights in its name"),
        (model(encoder="tu-test_resnet.r160_in1k", encoder_weights="x"), "carries its weights in its name"),
        (model(encoder="tu-lcnet_035", encoder_weights="imagenet"), "no pretrained weights for 'lcnet_035'"),
        (model("unetplusplus", "mit_b0"), "'unetplusplus' cannot be built on encoder 'mit_b0'"),
        (model("pan", "vgg11"), "'pan' cannot be built on encoder 'vgg11'"),
        (model("unet", "tu-test_vit"), "cannot be built on encoder 'tu-test_vit'"),
        (model("hrnet", "tu-hrnet_w17"), "unknown 'tu-hrnet_w17'; did you mean tu-hrnet_w18"),
        *((model(arch, encoder), DILATED_RULE) for arch in DILATED_ARCHS for encoder in UNDILATED),
    ],
)
def test_mistakes_are_one_clear_line(config: ModelConfig, said: str) -> None:
    with pytest.raises(ModelError) as caught:
        check_model(config)
    assert said in str(caught.value)
    assert str(caught.value).startswith("model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arch", DILATED_ARCHS)
def test_the_encoders_that_a_rule_names_can_be_built(arch: str) -> None:
    names = DILATED_RULE.partition("such as ")[2].replace(" or ", ", ").split(", ")
    assert len(names) == 6
    for encoder in names:
        check_model(model(arch, encoder))


@pytest.mark.parametrize("config", [model(), model("fpn", "tu-resnet18.a1_in1k"), model("segformer", "mit_b0")])
def test_good_models_pass(config: ModelConfig) -> None:
    check_model(config)


@pytest.fixture
def no_network(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no route to the hub\nat all")

    def look_in_an_empty_cache(*_: object, local_files_only: bool, **__: object) -> None:
        assert local_files_only, "a download was tried although the hub cannot be reached"
        raise LocalEntryNotFoundError("not cached")

    monkeypatch.setattr(weights, "get_hf_file_metadata", refuse)
    monkeypatch.setattr(weights, "hf_hub_download", look_in_an_empty_cache)


@pytest.mark.parametrize("encoder", ["resnet18", "tu-resnet18", "tu-resnet18.a1_in1k"])
@pytest.mark.usefixtures("no_network")
def test_weights_out_of_reach_say_the_way_out(encoder: str) -> None:
    with pytest.raises(ModelError) as caught:
        build_model(model(encoder=encoder, encoder_weights="imagenet"), 3, None)
    assert "--set model.encoder_weights=null" in str(caught.value)
    assert "HF_HOME" in str(caught.value)
    assert "(no route to the hub)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_weights_in_the_cache_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "models--timm--test_resnet.r160_in1k" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"half a file")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs/main").write_text("a" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="weights in the Hugging Face cache are damaged"):
        build_model(model(encoder="tu-test_resnet", encoder_weights="imagenet"), 3, None)


def test_cached_weights_ask_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_for = []
    monkeypatch.setattr(weights, "hf_hub_download", lambda repo, name, **_: looked_for.append((repo, name)))
    monkeypatch.setattr(weights, "get_hf_file_metadata", lambda *_, **__: pytest.fail("asked the hub"))
    fetch_weights(model(encoder_weights="imagenet"))
    fetch_weights(model(encoder="tu-resnet18", encoder_weights="imagenet"))
    fetch_weights(model())
    assert looked_for == [
        ("smp-hub/resnet18.imagenet", "config.json"),
        ("smp-hub/resnet18.imagenet", "model.safetensors"),
        ("timm/resnet18.a1_in1k", "model.safetensors"),
    ]


def test_weights_are_fetched_once_the_hub_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def download(repo: str, name: str, *, local_files_only: bool, **_: object) -> None:
        if local_files_only:
            raise LocalEntryNotFoundError("not cached")
        fetched.append(name)

    monkeypatch.setattr(weights, "hf_hub_download", download)
    monkeypatch.setattr(weights, "get_hf_file_metadata", lambda _, **__: None)
    fetch_weights(model(encoder_weights="imagenet"))
    assert fetched == ["config.json", "model.safetensors"]


def test_the_request_that_decides_does_not_retry() -> None:
    """Hugging Face's metadata request retries only when asked; a default that changes would cost minutes offline."""
    import inspect

    parameters = inspect.signature(huggingface_hub.get_hf_file_metadata).parameters
    assert parameters["retry_on_errors"].default is False if "retry_on_errors" in parameters else True


def test_timm_encoders_get_true_for_weights() -> None:
    assert build._weights_argument("tu-resnet18", "imagenet") is True
    assert build._weights_argument("resnet18", "ssl") == "ssl"
