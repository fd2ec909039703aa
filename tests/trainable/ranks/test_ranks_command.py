"""``python -m trainable`` on several ranks: --ranks, --gpus, torchrun."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import trainable.__main__ as command
from trainable.__main__ import main
from trainable.configfile.mistakes import ConfigError
from trainable.team.command import Ranks, requested_ranks

TRIAL = """
data: {name: shapes, size: [32, 32], train_images: 8, val_images: 4}
model: {arch: linknet, encoder: tu-test_resnet, encoder_weights: null}
train: {epochs: 2, batch_size: 4, lr: 1e-3}
"""

INDIVISIBLE = "{file}:4 train.batch_size: a batch of 4 is not divided by"


@pytest.fixture
def trial_file(tmp_path: Path) -> Path:
    path = tmp_path / "trial.yaml"
    path.write_text(TRIAL)
    return path


def test_a_trial_runs_on_two_ranks_and_one_prints(trial_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    weights = trial_file.with_name("model.pt")
    options = ["--ranks", "2", "--threads", "1", "--device", "cpu", "--export", str(weights)]
    assert main([str(trial_file), *options]) == 0
    out, err = capfd.readouterr()
    assert re.findall(r"^epoch (\d)/2", out, re.MULTILINE) == ["1", "2"]
    assert err == ""
    assert weights.is_file()


def torchrun(trial_file: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "-m", "trainable", str(trial_file)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=120, env=env)


def test_torchruns_processes_are_the_ranks(trial_file: Path) -> None:
    done = torchrun(trial_file, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^epoch (\d)/2", done.stdout, re.MULTILINE) == ["1", "2"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--ranks", "3"], f"{INDIVISIBLE} 3 ranks; 3 or 6 would be (--ranks 3)"),
        (["--gpus", "8"], f"{INDIVISIBLE} 8 ranks; 8 would be (--gpus 8)"),
        (
            ["--ranks", "2", "--set", "train.accumulate=4"],
            "--set train.accumulate=4: train.accumulate: a batch of 4 is not divided by 2 ranks x 4 micro-batches; "
            "8 would be (--ranks 2)",
        ),
        (
            ["--ranks", "2", "--set", "data.train_images=3"],
            "{file}:4 train.batch_size: all 3 training images are one batch, which 2 ranks cannot share equally; use "
            "fewer ranks or a smaller batch (--ranks 2)",
        ),
        (["--gpus", "4"], "--gpus 4: this machine has 1 GPU"),
        (["--gpus", "2", "--device", "cpu"], "--gpus 2: contradicts --device cpu; leave one out"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    trial_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], line: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert main([str(trial_file), *options]) == 2
    assert capsys.readouterr().err == line.format(file=trial_file) + "\n"


def of_torchrun(world: int, here: int) -> dict[str, str]:
    names = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    return {**dict.fromkeys(names, "1"), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(here)}


def test_torchrun_says_which_rank_this_is() -> None:
    ranks = requested_ranks(None, None, "cpu", of_torchrun(2, 2))
    assert ranks == Ranks(2, "torchrun with 2 ranks", "cpu", launched=1)
    assert not ranks.is_first


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("LOCAL_WORLD_SIZE", "x", "LOCAL_WORLD_SIZE: must be a whole number, as torchrun sets it, got 'x'"),
        ("RANK", "-1", "RANK: must be a whole number, as torchrun sets it, got '-1'"),
        ("MASTER_PORT", "", "MASTER_PORT: must be a whole number, as torchrun sets it, got ''"),
        ("RANK", "2", "RANK: must be below WORLD_SIZE (2), got 2; torchrun sets both"),
    ],
)
def test_variables_of_torchrun_that_another_hand_set_are_told(name: str, value: str, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        requested_ranks(None, None, None, {**of_torchrun(2, 2), name: value})
    assert str(error.value) == line


@pytest.mark.parametrize(
    "options", [["--set", "train.lr=0"], ["--set", "train.batch_size=3"], ["--set", "model.encoder=resnet81"], ["--x"]]
)
@pytest.mark.parametrize("rank", ["0", "1"])
def test_one_process_of_torchrun_tells_what_is_wrong(
    trial_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rank: str,
    options: list[str],
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(command.time, "sleep", waits.append)
    for name, value in {**of_torchrun(2, 2), "RANK": rank}.items():
        monkeypatch.setenv(name, value)
    try:
        code = main([str(trial_file), *options])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    assert code == 2
    told = capsys.readouterr().err
    assert (told != "", waits) == ((True, []) if rank == "0" else (False, [command.SILENCE_S]))


@pytest.mark.parametrize("options", [[], ["--ranks", "2"]])
def test_an_interrupt_ends_without_a_word(trial_file: Path, options: list[str]) -> None:
    many = ["--device", "cpu", "--threads", "1", "--set", "train.epochs=10000"]
    run = subprocess.Popen(
        [sys.executable, "-m", "trainable", str(trial_file), *many, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        assert run.stdout is not None
        assert run.stdout.readline().startswith("epoch 1/10000")
        run.send_signal(signal.SIGINT)
        _, told = run.communicate(timeout=60)
    finally:
        run.kill()
    assert (run.returncode, told) == (130, "")


@pytest.mark.parametrize(
    ("given", "here", "message"),
    [(2, 4, "its processes are the ranks; leave --gpus and --ranks out"), (None, 2, "a trial trains on one")],
)
def test_torchrun_with_more_is_refused(given: int | None, here: int, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^torchrun with 4 ranks: .*{message}"):
        requested_ranks(None, given, None, of_torchrun(4, here))
