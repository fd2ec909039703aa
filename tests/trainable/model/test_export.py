"""A trained network as a plain smp model: equal logits, and a file that loads."""

import subprocess
import sys
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
import yaml

from tests.trainable import tiny_hrnet
from tests.trainable.conftest import TINY
from trainable.model.build import build_model
from trainable.model.config import ModelConfig
from trainable.model.export import Then, folded, save
from trainable.suppression.block import SuppressionBlock
from trainable.suppression.config import SuppressionConfig


@pytest.mark.parametrize("mechanism", ["gate", "hard", "projection", "random_channels"])
@pytest.mark.parametrize(
    ("arch", "encoder", "layer", "importance"),
    [
        ("unet", "resnet18", "decoder", "auto"),
        ("linknet", "tu-test_resnet", ["encoder.1", "encoder.4", "decoder"], "gradient"),
        ("segformer", "mit_b0", "encoder.3", "auto"),
        ("linknet", "efficientnet-b0", "encoder.4", "auto"),  # its blocks take two arguments
        ("fpn", "tu-convnext_atto", "encoder.3", "auto"),
        ("hrnet", tiny_hrnet.ENCODER, "decoder", "auto"),
        ("hrnet", tiny_hrnet.ENCODER, "branch.1", "auto"),
        ("hrnet", tiny_hrnet.ENCODER, ["branch.2", "branch.4", "decoder"], "gradient"),
    ],
)
def test_the_folded_model_has_equal_logits(
    tmp_path: Path, arch: str, encoder: str, layer: object, importance: str, mechanism: str
) -> None:
    config = ModelConfig.model_validate({"arch": arch, "encoder": encoder, "encoder_weights": None})
    suppression = SuppressionConfig.model_validate(
        {"layer": layer, "importance": importance, "mechanism": mechanism}, strict=False
    )
    torch.manual_seed(0)
    model = build_model(config, 5, suppression)
    for module in model.modules():  # statistics and scales as after a training, not those of an initial network
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
            torch.nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
            torch.nn.init.uniform_(module.weight, 0.5, 2)
        if isinstance(module, SuppressionBlock) and module.running_importance is not None:
            torch.nn.init.uniform_(module.running_importance, -1, 1)
    model.double().eval()
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    save(model, config, tmp_path / "model.pt")
    plain = torch.load(tmp_path / "model.pt", weights_only=False)
    assert isinstance(plain, smp.base.SegmentationModel)
    assert not any(isinstance(module, SuppressionBlock) for module in plain.modules())
    with torch.no_grad():
        torch.testing.assert_close(plain(images), model(images), rtol=1e-9, atol=1e-9)
    of_this_package = [m for m in plain.modules() if type(m).__module__.startswith("trainable")]
    assert all(isinstance(module, Then) for module in of_this_package)
    assert sum(p.numel() for p in folded(model, config).parameters()) < sum(p.numel() for p in model.parameters())


def test_the_command_writes_a_model_that_another_process_loads(tmp_path: Path) -> None:
    tree = {**TINY, "suppression": {"gate_norm": "mean"}}
    (tmp_path / "trial.yaml").write_text(yaml.safe_dump(tree))
    command = [sys.executable, "-m", "trainable", "trial.yaml", "--set", "train.epochs=1", "--threads", "1"]
    wrong = subprocess.run([*command, "--export", "no/model.pt"], cwd=tmp_path, capture_output=True, text=True)
    assert (wrong.returncode, wrong.stderr) == (2, "trial.yaml: --export no/model.pt: no folder no\n")
    subprocess.run([*command, "--export", "model.pt"], cwd=tmp_path, check=True)
    load = "import torch; print(torch.load('model.pt', weights_only=False)(torch.zeros(1, 3, 64, 32)).shape)"
    shown = subprocess.run([sys.executable, "-c", load], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout == "torch.Size([1, 6, 64, 32])\n"
