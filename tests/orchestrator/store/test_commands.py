"""Printed commands mean to a shell what they say."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.store.commands import (
    CALL,
    again,
    interpreter,
    mlflow_ui,
    module,
    of_study,
    quoted,
    retrying,
    shown_address,
    with_setting,
)

BASH = shutil.which("bash") or "/bin/bash"
AWKWARD = [
    "plain", "two words", "my stüdies", "it's", 'say "hi"', "$HOME/x", "`id`",
    "a;b", "a&b", "*", "~", "-x", "--storage",
    "a=[1, 2]", "line\nbreak", "tab\there", "back\\slash\nnew",
    "quote'\nline", "", "#no", "!history", "\udcff", "a b",
]  # fmt: skip


def words(command: str) -> list[str]:
    """What a program that bash starts would get."""
    show = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))"
    script = f'show() {{ {quoted(sys.executable)} -c {quoted(show)} "$@"; }}; show {command}'
    done = subprocess.run([BASH, "-c", script], capture_output=True, check=True)
    return [os.fsdecode(word) for word in done.stdout.split(b"\0")]


def test_every_word_survives_the_shell() -> None:
    command = " ".join(map(quoted, AWKWARD))
    assert "\n" not in command
    assert words(command) == AWKWARD


@pytest.mark.parametrize("name", ["plain", "two words", "-x", "$HOME"])
def test_a_command_on_a_study_names_it_and_its_storage(name: str) -> None:
    command = of_study("orchestrator.report", name, "/my stüdies/-x")
    got = words(command)
    assert got[1:3] == ["-m", "orchestrator.report"]
    storage = ["--storage", "/my stüdies/-x"]
    assert got[3:] == ([*storage, "--", name] if name.startswith("-") else [name, *storage])


def test_an_option_whose_value_begins_with_a_dash_is_one_word() -> None:
    assert words(module("x", options={"--storage": "-my store"}))[-1] == "--storage=-my store"


def test_addresses_lose_their_secrets_and_paths_nothing() -> None:
    assert shown_address("s3://user:secret@host/x") == "s3://***@host/x"
    assert shown_address("/a//b@c/x?token=1") == "/a//b@c/x?token=1"
    assert words(mlflow_ui("sqlite:///ml flow.db"))[-1] == "sqlite:///ml flow.db"


def test_a_launch_is_repeated_with_its_options_and_takes_more() -> None:
    typed = ["--dry", "--set", "a=[1, 2]", "--", "-x.yaml"]
    assert words(again(typed) + " --retry-failed")[3:] == [
        "--set",
        "a=[1, 2]",
        "./-x.yaml",
        "--retry-failed",
    ]


def test_the_interpreter_is_named_so_that_a_shell_finds_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert interpreter() == "python"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert words(interpreter()) == [sys.executable]


@pytest.mark.parametrize("until", [["--until", "2027-01-15T08:00"], ["--until=1800000000"], []])
def test_a_time_that_will_be_over_is_not_given_again(until: list[str]) -> None:
    assert words(again(["s.yaml", *until, "--retry-failed"]))[3:] == ["s.yaml", "--retry-failed"]


def test_what_runs_failed_trials_again() -> None:
    assert retrying("python -m orchestrator.sweep x.yaml") == "python -m orchestrator.sweep x.yaml --retry-failed"
    assert retrying(CALL) == f"{CALL} with retry_failed=True"


def test_a_setting_is_added_to_a_command_and_to_a_call() -> None:
    assert with_setting("python -m x 'a b'", "confirm={top: 1}") == "python -m x 'a b' --set 'confirm={top: 1}'"
    call = with_setting("the same call of orchestrator.run", "confirm={top: 1}")
    assert call == "the same call of orchestrator.run with set=['confirm={top: 1}']"
