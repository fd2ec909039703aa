import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from trainable.__main__ import InputError, load_config, main

GOOD = """
data: {name: shapes, size: [32, 32], train_images: 8, val_images: 4}
model: {arch: linknet, encoder: tu-test_resnet, encoder_weights: null}
train: {epochs: 1, batch_size: 4, lr: 1e-3}
"""


@pytest.fixture
def trial_file(tmp_path: Path) -> Path:
    path = tmp_path / "trial.yaml"
    path.write_text(GOOD)
    return path


def test_a_bare_name_is_the_option_with_its_defaults(trial_file: Path) -> None:
    for key, name in (("sampling", "temperature"), ("mechanism", "hard"), ("schedule", "cosine")):
        bare, whole = (load_config(trial_file, [f"suppression.{key}={v}"]) for v in (name, f"{{name: {name}}}"))
        assert bare == whole
        assert getattr(bare.suppression, key).name == name


def test_a_trial_runs_from_a_file(trial_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(trial_file), "--device", "cpu", "--threads", "1", "--set", "train.epochs=2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("epoch 1/2  train/loss ")
    assert lines[1].startswith("epoch 2/2")
    assert any(line.startswith("val/miou = ") for line in lines[2:])


def test_json_and_yaml_12_floats(trial_file: Path, tmp_path: Path) -> None:
    config = load_config(trial_file)
    assert config.train.lr == 1e-3
    copy = tmp_path / "copy.json"
    copy.write_text(config.model_dump_json())
    assert load_config(copy) == config
    assert load_config(trial_file, ["suppression.alpha=3", "suppression.p_max=1e-1"]).suppression.alpha == 3


MISTAKES = {
    "data.sise=1": "data.sise: unknown key; valid: name, size, train_images",
    "data.size=[33, 32]": "data.size.0: input should be a multiple of 32, not 33",
    "data.name=shape": "data.name: unknown 'shape'; one of 'shapes', 'camvid', 'cityscapes', 'voc', 'folder'",
    "data=null": "data: input should be",
    "model.arch=fpm": "model.arch: input should be 'unet'",
    "train.lr=fast": 'train.lr: input should be a valid number, not "fast"',
    "train.epochs=0": "train.epochs: input should be greater than or equal to 1, not 0",
    "train.optimizer.momentum=1": "train.optimizer.name: missing",
    "train.class_weights=[1, 2]": "train.class_weights: 2 weights, but shapes has 6 classes",
    "suppression.sampling={name: uniform, tau: 1}": "suppression.sampling.tau: unknown key; valid: name",
    "suppression.sampling=unifrom": "suppression.sampling.name: unknown 'unifrom'; one of 'uniform', 'present'",
    "suppression.mechanism.q=0.5": "suppression.mechanism.name: missing; it says which kind the section is",
    "suppression.layer=[decoder, decoder]": "suppression.layer: lists a layer twice",
    "suppression.num_classes=6": "suppression.num_classes: must be below the number of classes, shapes has 6; got 6",
    "preset=offical": "preset: input should be 'none', 'official'",
    "provenance=1": "provenance: unknown key; valid: preset, data, model, train, suppression, evaluation, seed",
    "epochs": "--set epochs: write path=value",
    "train.epochs.x=1": "--set train.epochs.x=1: 'epochs' is a value, not a section",
    "train.lr=[": "--set train.lr=[: the value is not YAML",
    "data={name: camvid, root: nowhere}": "data.root: no folder nowhere",
}


@pytest.mark.parametrize(("override", "line"), MISTAKES.items())
def test_a_mistake_is_one_line(trial_file: Path, capsys: pytest.CaptureFixture[str], override: str, line: str) -> None:
    assert main([str(trial_file), "--set", override]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"{trial_file}: {line}")


@pytest.mark.parametrize(
    ("content", "line"), [("data: [", "not YAML: "), ("[1]", "must be a mapping"), ("", "must be a mapping")]
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: str, line: str) -> None:
    path = tmp_path / "trial.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=line):
        load_config(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_config(tmp_path / "missing.yaml")


def test_every_mistake_is_told_before_torch_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "trial.yaml"
    path.write_text(yaml.dump({"data": {"name": "shapes"}, "train": {"epochs": "3", "batch": 1}, "seed": 1.5}))
    code = (
        "import sys; from trainable.__main__ import main; code = main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    told = [line.removeprefix(f"{path}: ").partition(":")[0] for line in done.stderr.splitlines()]
    assert told == ["model", "train.epochs", "train.batch_size", "train.batch", "seed"]


def test_failures_are_one_line(trial_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(trial_file), "--device", "cpu", "--set", "train.lr=1e30", "--set", "train.epochs=2"]) == 1
    assert capsys.readouterr().err == "trial failed: epoch 1, step 2: the loss is nan\n"
    assert main([str(trial_file), "--device", "cpu", "--set", "model.encoder=resnet81"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"{trial_file}: model.encoder: unknown 'resnet81'; did you mean resnet18")


def test_a_missing_gpu_is_one_line(
    trial_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main([str(trial_file), "--device", "cuda"]) == 1
    assert capsys.readouterr().err == "trial failed: no CUDA device; --device cpu trains on the CPU\n"


def test_wrong_options_are_told(trial_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([str(trial_file), "--threads", "0"])
    assert caught.value.code == 2
    assert "'0' is not a positive integer" in capsys.readouterr().err


def test_a_dumped_config_is_valid_json(trial_file: Path) -> None:
    assert json.loads(load_config(trial_file).model_dump_json())["suppression"] is None
