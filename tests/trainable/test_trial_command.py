import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from trees import camvid_tree

from trainable.__main__ import load_config, main
from trainable.configfile.mistakes import ConfigError
from trainable.data.layout import pairs

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
    mious = [float(re.findall(r"val/miou (\S+)", line)[0]) for line in lines[:2]]
    epoch, best = max(enumerate(mious, start=1), key=lambda one: one[1])
    label, value, number = re.fullmatch(r"(.+): val/miou = (\S+) after epoch (\d)", lines[-1]).groups()
    assert (label, int(number)) == ("best epoch, biased upwards", epoch)
    assert float(value) == pytest.approx(best, rel=1e-3)


def test_the_reliance_on_context_is_shown_where_it_is_asked_for(
    trial_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--device", "cpu", "--threads", "1", "--set", "evaluation.context={classes: [sand]}"]
    assert main([str(trial_file), *options]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()[-8:]
    assert lines[0] == "IoU lost by each class (columns) where another one (rows) is erased:"
    assert lines[1].split() == ["0", "1", "2", "3", "4", "5"]
    assert lines[2].split() == ["0", "meadow", *["-"] * 6]
    number, name, *lost = lines[3].split()
    assert (number, name, lost[1]) == ("1", "sand", "-")
    known = [float(loss) for loss in lost if loss != "-"]
    (mean,) = re.findall(r"^context/sand = (\S+)$", out, re.MULTILINE)
    assert sum(known) / len(known) == pytest.approx(float(mean), abs=1e-3)


def test_the_command_says_which_epochs_are_plain(trial_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [
        f"--set={value}" for value in ("train.epochs=2", "suppression.start=0.5", "suppression.layer=encoder.3")
    ]
    assert main([str(trial_file), "--device", "cpu", "--threads", "1", *settings]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("epoch 1/2  train/loss ")
    assert first.endswith("plain, before suppression.start")
    assert second.startswith("epoch 2/2  train/loss ")
    assert "plain" not in second


def test_json_and_yaml_12_floats(trial_file: Path, tmp_path: Path) -> None:
    config = load_config(trial_file)
    assert config.train.lr == 1e-3
    copy = tmp_path / "copy.json"
    copy.write_text(config.model_dump_json())
    assert load_config(copy) == config
    assert load_config(trial_file, ["suppression.alpha=3", "suppression.p_max=1e-1"]).suppression.alpha == 3


MISTAKES = {
    "data.sise=1": "data.sise: unknown key 'sise'; one of rare_class_sampling, rare_copy_paste, name, size",
    "data.size=[33, 32]": "data.size[0]: must be a multiple of 32, got 33",
    "data.size[0]=33": "data.size[0]: must be a multiple of 32, got 33",
    "data.size[2]=32": "data.size[2]: data.size is a list of 2, it has no item 2",
    "data.name=shape": "data: unknown 'shape'; one of shapes, camvid, cityscapes, voc, folder (did you mean",
    "data=null": "data: expected a mapping with a name, one of shapes, camvid, cityscapes, voc, folder; got null",
    "model.arch=fpm": "model.arch: unknown 'fpm'; one of unet,",
    "train.lr=fast": "train.lr: expected a number, got 'fast'",
    "train.epochs=0": "train.epochs: must be >= 1, got 0",
    "train.optimizer.momentum=1": "train.optimizer: missing key 'name'; one of adamw, sgd",
    "train.class_weights=[1, 2]": "train.class_weights: 2 weights, but shapes has 6 classes",
    "suppression.sampling={name: uniform, tau: 1}": "suppression.sampling.tau: unknown key 'tau'; one of name",
    "suppression.sampling=unifrom": "suppression.sampling: unknown 'unifrom'; one of uniform, present,",
    "suppression.mechanism.q=0.5": "suppression.mechanism: missing key 'name'; one of auto, gate, hard,",
    "suppression.layer=[decoder, decoder]": "suppression.layer: lists a layer twice",
    "suppression.num_classes=6": "suppression.num_classes: must be below the number of classes, shapes has 6; got 6",
    "preset=offical": "preset: unknown 'offical'; one of none, official,",
    "provenance=1": "provenance: unknown key 'provenance'; one of preset, data, model, train,",
    "epochs": "expected PATH=VALUE, such as train.epochs=2",
    "train.epochs.x=1": "train.epochs.x: train.epochs is 1, which has no key x; set train.epochs itself",
    "train.lr=[": "YAML syntax: while parsing a flow node",
    "train.lr=${NONE_OF_THIS_NAME}": "train.lr: the environment variable NONE_OF_THIS_NAME is not set",
}


@pytest.mark.parametrize(("override", "line"), MISTAKES.items())
def test_a_mistake_is_one_line(trial_file: Path, capsys: pytest.CaptureFixture[str], override: str, line: str) -> None:
    assert main([str(trial_file), "--set", override]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"--set {override}: {line}")


def test_what_is_wrong_with_the_data_has_its_line(trial_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trial_file.write_text("data:\n  name: camvid\n  root: nowhere\n" + "\n".join(GOOD.splitlines()[2:]))
    assert main([str(trial_file)]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"{trial_file}:3 data.root: no folder nowhere; it must hold train/")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("data: [", r"trial\.yaml:1: YAML syntax: "),
        ("[1]", r"trial\.yaml:1: got a list; a trial's configuration is a mapping with the keys preset, data"),
        ("", r"trial\.yaml:1: the file is empty; "),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: str, line: str) -> None:
    path = tmp_path / "trial.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=line):
        load_config(path)
    with pytest.raises(ConfigError, match=r"missing\.yaml: no such file or directory"):
        load_config(tmp_path / "missing.yaml")


def test_variables_of_the_environment_are_read_as_in_a_study(trial_file: Path) -> None:
    config = load_config(trial_file, ["train.epochs=${E}", "model.encoder_weights=$${E}"], env={"E": "7"})
    assert (config.train.epochs, config.model.encoder_weights) == (7, "${E}")


def test_every_mistake_is_told_before_torch_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "trial.yaml"
    path.write_text(yaml.dump({"data": {"name": "shapes"}, "train": {"epochs": "3", "batch": 1}, "seed": 1.5}))
    code = (
        "import sys; from trainable.__main__ import main; code = main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    keys = [line.removeprefix(f"{path}:").partition(":")[0] for line in done.stderr.splitlines()]
    assert keys == ["1 model", "3 seed", "4 train.batch_size", "5 train.batch", "6 train.epochs"]


def test_failures_are_one_line(trial_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(trial_file), "--device", "cpu", "--set", "train.lr=1e20", "--set", "train.epochs=2"]) == 1
    assert capsys.readouterr().err == "trial failed: epoch 1, step 2: the loss is nan\n"
    assert main([str(trial_file), "--device", "cpu", "--set", "model.encoder=resnet81"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("--set model.encoder=resnet81: model.encoder: unknown encoder 'resnet81'; close names: ")
    assert main([str(trial_file), "--device", "cpu", "--set", "model.encoder=tu-resnet_81"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"{trial_file}: model.encoder: unknown 'tu-resnet_81'; did you mean tu-")


def test_a_missing_gpu_is_one_line(
    trial_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for ranks in ([], ["--ranks", "1"], ["--ranks", "2", "--set", "train.batch_size=2"]):
        assert main([str(trial_file), "--device", "cuda", *ranks]) == 2
        line = "--device cuda: this machine has no GPU; --device cpu trains on the CPU\n"
        assert capsys.readouterr().err == line


def test_wrong_options_are_told(trial_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([str(trial_file), "--threads", "0"])
    assert caught.value.code == 2
    assert "must be a whole number from 1 to 1024, got '0'" in capsys.readouterr().err


def test_a_dumped_config_is_valid_json(trial_file: Path) -> None:
    assert json.loads(load_config(trial_file).model_dump_json())["suppression"] is None


def test_no_error_shows_what_a_variable_holds(tmp_path, capsys, monkeypatch):
    data = camvid_tree(tmp_path / "hunter2")
    pairs(data, "train")[0].image.write_bytes(b"broken")
    monkeypatch.setenv("ROOT_OF_A_TEST", data.root)
    monkeypatch.setenv("DROPCLASS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "trial.yaml"
    path.write_text(
        "data: {name: camvid, root: '${ROOT_OF_A_TEST}', size: [32, 64]}\n"
        "model: {arch: unet, encoder: resnet18, encoder_weights: null}\ntrain: {epochs: 1, batch_size: 1, lr: 0.1}\n"
    )
    assert main([str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{path}: ${{ROOT_OF_A_TEST}}/train/000.png: cannot be decoded (")
    assert "hunter2" not in line
