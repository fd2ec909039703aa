"""Commands as they are printed: whoever pastes one into a shell, in the same folder, runs it."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from pydantic import JsonValue

from orchestrator.store.addresses import redacted
from trainable.configfile.node import JsonObject
from trainable.parts.section import NAME
from trainable.parts.source import VARIABLE, Code, code_of, import_path
from trainable.program import PROGRAM, command_of, started_as_program

PYTHON = "python"
"""In files, which travel to other machines; on a terminal `interpreter` names the one that runs."""

CALL = "the same call of orchestrator.run"
"""What continues a study that was given as a mapping: there is no file to name in a command."""


def interpreter() -> str:
    """``python`` where that is the interpreter that runs, else its path: a virtual environment need not be active."""
    return _beside("python") or quoted(sys.executable)


def module(name: str, *words: str, options: Mapping[str, str] | None = None, python: str | None = None) -> str:
    """``python -m NAME``, or ``dropclass`` as the user started it; options, and words that may begin with a dash.

    With ``python``, the interpreter of another machine, always the former.
    """
    given = [f"{key}{'=' if value.startswith('-') else ' '}{quoted(value)}" for key, value in (options or {}).items()]
    start = [python, "-m", name] if python else start_of(name)
    if any(word.startswith("-") for word in words):
        return " ".join([*start, *given, "--", *map(quoted, words)])
    return " ".join([*start, *map(quoted, words), *given])


def start_of(name: str) -> list[str]:
    """How a command begins in this shell: as the user started the one that runs, where that can be pasted."""
    if started_as_program():
        program = _beside(PROGRAM)
        path = os.path.abspath(sys.argv[0])
        if program or os.access(path, os.X_OK):
            return [program or quoted(path), command_of(name)]
    return [interpreter(), "-m", name]


def of_study(name: str, study: str, storage: str) -> str:
    """A command on a study that was launched."""
    return module(name, study, options={"--storage": shown_address(storage)})


def finding_parts(command: str, config: JsonObject) -> str:
    """A command that runs a trial, told where the code of its own parts lies unless that is installed."""
    folders = dict.fromkeys(import_path(code) for code in _codes(config) if not code.installed)
    return f"{VARIABLE}={quoted(os.pathsep.join(folders))} {command}" if folders else command


def _codes(value: JsonValue) -> Iterator[Code]:
    if isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _codes(child)
    elif isinstance(value, str) and NAME.fullmatch(value):
        with suppress(ValueError):  # it is of another machine, or a text of another meaning
            yield code_of(value)


def mlflow_ui(uri: str) -> str:
    """What serves the pages of MLflow's runs in a database."""
    program = _beside("mlflow") or f"{interpreter()} -m mlflow"
    return f"{program} ui --backend-store-uri {quoted(shown_address(uri))}"


def program(name: str, *words: str) -> str:
    """A program of another package; where this environment has none, how to get it stands behind the command."""
    place = _beside(name) or _installed(name)
    missing = "" if place else f"   (first: pip install {name})"
    return f"{' '.join([quoted(place) if place else name, *map(quoted, words)])}{missing}"


def _installed(name: str) -> str:
    """Path of a program of this interpreter's environment, which need not be active; empty where there is none."""
    path = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), name)
    return path if os.access(path, os.X_OK) else ""


def again(arguments: Sequence[str]) -> str:
    """The command line of a launch, to which options can be appended; a file that begins with a dash gets a folder.

    A dry run's becomes that of the launch, and a time that will be over is left out.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = [word for word in arguments[:end] if not _asks_dry(word)]
    while "--until" in options:
        place = options.index("--until")
        del options[place : place + 2]
    options = [word for word in options if not word.startswith("--until=")]
    files = [f"./{word}" if word.startswith("-") else word for word in arguments[end + 1 :]]
    return " ".join([*start_of("orchestrator.sweep"), *map(quoted, [*options, *files])])


def with_setting(command: str, setting: str) -> str:
    """What continues a launch, with one more ``--set``: a command line of `again`, or a call from Python in words."""
    is_call = command.startswith(CALL)
    return f"{command} with set=[{setting!r}]" if is_call else f"{command} --set {quoted(setting)}"


def is_dry(arguments: Sequence[str]) -> bool:
    """Whether the command line of a launch asks for a dry run."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return any(_asks_dry(word) for word in arguments[:end])


def _asks_dry(word: str) -> bool:
    return word.startswith("--d") and "--dry-run".startswith(word)


def retrying(command: str) -> str:
    """What runs failed trials again, from what continues the launch: a command line, or a call without a file."""
    return f"{command} with retry_failed=True" if command == CALL else f"{command} --retry-failed"


def shown_address(address: str) -> str:
    """An address without its secrets; a path as it is."""
    return redacted(address) if "://" in address else address


def quoted(word: str) -> str:
    """A word of a command for a shell, on one line."""
    if word.isprintable():
        return shlex.quote(word)
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b"\\'" else f"\\x{byte:02x}" for byte in os.fsencode(word))
    return f"$'{''.join(plain)}'"


def _beside(program: str) -> str | None:
    """The name of a program where a shell finds the one of this interpreter's environment; None where it does not."""
    place = shutil.which(program)
    here = os.path.dirname(os.path.abspath(sys.executable))
    return program if place is not None and os.path.dirname(os.path.abspath(place)) == here else None
