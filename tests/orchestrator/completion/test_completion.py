"""What the shells complete, asked of the shells themselves."""

import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.__main__ import COMMANDS, main

BASH = """
eval "$SCRIPT"
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_dropclass
printf '%s\\n' "${COMPREPLY[@]}"
"""
ZSH = """
autoload -Uz compinit; compinit -u; eval "$SCRIPT"
compadd() { print -r -- "${(@)matches}" }
words=("$@") CURRENT=$#
PREFIX=$words[-1]
_bash_complete -F _dropclass
"""


@pytest.fixture(scope="module")
def scripts() -> dict[str, str]:
    made = {}
    for shell in ("bash", "zsh", "fish"):
        with pytest.MonkeyPatch.context() as patch:
            lines: list[str] = []
            patch.setattr("builtins.print", lambda text, lines=lines, **_: lines.append(text))
            assert main(["--print-completion", shell]) == 0
        made[shell] = "\n".join(lines)
    return made


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("studies/shapes", "studies/shapes-2", "studies/camvid", "elsewhere/other", "data set"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "my study.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bash(script: str, *words: str) -> list[str]:
    """What bash offers for the last word."""
    command = ["bash", "-c", BASH, "bash", "dropclass", *words]
    done = subprocess.run(command, env={"SCRIPT": script}, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return sorted(done.stdout.split("\n")[:-1]) if done.stdout != "\n" else []


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["s"], ["schema", "status", "submit", "sweep"]),
        (["--"], ["--help", "--print-completion", "--version"]),
        (["--print-completion", ""], ["bash", "fish", "zsh"]),
        (["status", ""], ["camvid", "shapes", "shapes-2"]),
        (["status", "sha"], ["shapes", "shapes-2"]),
        (["status", "--storage", "elsewhere", ""], ["other"]),
        (["status", "--storage", "=", "elsewhere", ""], ["other"]),
        (["status", "shapes", ""], []),
        (["status", "--w"], ["--watch"]),
        (["compare", "shapes", "cam"], ["camvid"]),
        (["sweep", "my"], ["my study.yaml"]),
        (["sweep", "my study.yaml", "--storage", "e"], ["elsewhere"]),
        (["sweep", "--set", "x=1", "--dry-run", "my"], ["my study.yaml"]),
        (["sweep", "--set", ""], []),
        (["sweep", "--dry"], ["--dry-run"]),
        (["data", "--size", "1", "2", "c"], ["camvid", "cityscapes"]),
        (["init", "shapes_"], ["shapes_ablation", "shapes_price"]),
        (["submit", ""], ["kuberay", "slurm"]),
        (["submit", "slurm", "--nod"], ["--nodes"]),
        (["submit", "slurm", "my"], ["my study.yaml"]),
        (["predict", "shapes", "my study.yaml", "da"], ["data set"]),
        (["train", "--device", "c"], ["cpu", "cuda"]),
        (["export", "shapes", "--tensor"], ["--tensorboard"]),
    ],
)
def test_bash_completes(words: list[str], offered: list[str], scripts: dict[str, str], place: Path) -> None:
    assert bash(scripts["bash"], *words) == offered


def test_every_option_of_every_command_is_offered(scripts: dict[str, str], place: Path) -> None:
    from importlib import import_module

    for command in COMMANDS:
        parser = import_module(command.module).parser()
        options = {name for action in parser._actions for name in action.option_strings}
        assert set(bash(scripts["bash"], command.name, "-")) == options


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_read_theirs(shell: str, scripts: dict[str, str], place: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    ask = {
        "zsh": 'autoload -Uz compinit; compinit -u; eval "$SCRIPT"; print $_comps[dropclass]',
        "fish": 'echo $SCRIPT | source; complete -C "dropclass status sha"; complete -C "dropclass sweep --dry"',
    }
    environment = {"SCRIPT": scripts[shell], "HOME": str(place), "PATH": "/usr/bin:/bin", "TERM": "dumb"}
    done = subprocess.run(
        [shell, "-c", ask[shell]], env=environment, capture_output=True, text=True, check=True, cwd=place
    )
    expected = {"zsh": ["_bash_complete -F _dropclass"], "fish": ["shapes", "shapes-2", "--dry-run"]}
    assert [line.partition("\t")[0] for line in done.stdout.splitlines()] == expected[shell]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["status", "sha"], "camvid shapes shapes-2"),
        (["status", "--storage", "elsewhere", ""], "other"),
        (["predict", "shapes", "da"], "data set"),
        (["submit", ""], "slurm kuberay"),
    ],
)
def test_zsh_completes(words: list[str], offered: str, scripts: dict[str, str], place: Path) -> None:
    """What zsh itself chooses from, by what is typed."""
    environment = {"SCRIPT": scripts["zsh"], "HOME": str(place), "PATH": "/usr/bin:/bin", "TERM": "dumb"}
    command = ["zsh", "-f", "-c", ZSH, "zsh", "dropclass", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=place)
    assert done.stderr == ""
    assert set(done.stdout.splitlines()) == {offered}
