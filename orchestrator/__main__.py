"""The one command: ``dropclass COMMAND ...``, or ``python -m orchestrator COMMAND ...``.

A command is a module with ``main(arguments) -> exit code`` and ``parser()``; it is imported when it is chosen, so that
``--help`` and a mistyped name cost nothing. Exit codes are the command's; 2 where there is no such command, 130 where
Ctrl-C comes before it listens, 1 where nobody reads its output or nobody can.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import import_module
from typing import NamedTuple, NoReturn, TextIO

from trainable.program import PROGRAM, leave, started_as_program


class Command(NamedTuple):
    """A command of the program."""

    name: str
    module: str
    line: str
    """What it does."""
    entry: str = "main"
    """The function of its module that runs it."""


COMMANDS = (
    Command("init", "orchestrator.init", "write a study file to begin with"),
    Command("sweep", "orchestrator.sweep", "run the study of a YAML file, or continue it", "run_process"),
    Command("status", "orchestrator.status", "show how a study fares"),
    Command("report", "orchestrator.report.__main__", "write a study's report"),
    Command("compare", "orchestrator.compare_studies", "show the tables of two studies side by side"),
    Command("predict", "orchestrator.predict_images", "segment images with a study's best network"),
    Command("export", "orchestrator.export.__main__", "write a study for Optuna, TensorBoard or a spreadsheet"),
    Command("track", "orchestrator.track", "send MLflow what it lacks of a study"),
    Command("submit", "orchestrator.submit.__main__", "submit a launch as a job of SLURM or Kubernetes"),
    Command("train", "trainable.__main__", "train and evaluate one configuration alone"),
    Command("data", "trainable.data.__main__", "cache a data set and describe it"),
    Command("schema", "orchestrator.studyfile.schema", "write the schema of study files, for editors"),
)
OPTIONS = (
    ("--help", "show this, or with COMMAND --help what a command takes"),
    ("--version", "show the version, and the commit of a checkout"),
    ("--print-completion", "write what completes commands in a shell: bash, zsh or fish"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if sys.stdout is None:  # closed: the command still does what it does
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if words[:1] == ["sweep"] and not {"-h", "--help", "--version"} & set(words):  # it goes on where nobody reads
        return _code(words)
    output = _Output(sys.stdout)
    with redirect_stdout(output):
        try:
            code = _code(words)
            output.flush()
        except OSError as error:
            if error is not output.failure:
                raise
            output.silence()
            if not isinstance(error, BrokenPipeError):  # then the reader has seen enough: dropclass report STUDY | head
                print(f"{_name()}: what it prints cannot be written: {error.strerror}", file=sys.stderr)
            return 1
    return code


def program() -> NoReturn:
    """Run the program as the last thing that a process does."""
    leave(main())


class _Output:
    """A stream that remembers what it could not write, which is no mistake of the command."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        """Flush."""
        try:
            self._stream.flush()
        except OSError as error:
            self.failure = error
            raise

    def silence(self) -> None:
        """Lead the descriptor to nowhere, so that the interpreter's own last flush is quiet."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def _code(words: list[str]) -> int:
    try:
        return _run(words)
    except SystemExit as end:  # of argparse, which has said why
        return end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        return 130


def _run(words: list[str]) -> int:
    first, rest = (words[0], words[1:]) if words else ("", [])
    if first == "help":
        first, rest = (rest[0], ["--help"]) if rest else ("--help", [])
    match first:
        case "" | "-h" | "--help":
            print(_help())
            return 0 if words else 2
        case "-V" | "--version":
            from orchestrator.store.checkout import version_line

            print(version_line())
            return 0
        case "--print-completion":
            return _print_completion(rest)
    command = next((command for command in COMMANDS if command.name == first), None)
    if command is None:
        return _refuse(first)
    _search_here()
    run = getattr(import_module(command.module), command.entry)
    return int(run(rest))


def _help() -> str:
    width = max(len(name) for name, _ in OPTIONS) + 2
    lines = [f"  {command.name:{width}}{command.line}" for command in COMMANDS]
    options = [f"  {name:{width}}{line}" for name, line in OPTIONS]
    start = f"usage: {_name()} COMMAND ...\n\nStudies of class suppression in semantic segmentation.\n\ncommands:\n"
    return "\n".join([f"{start}{lines[0]}", *lines[1:], "\noptions:", *options])


def _name() -> str:
    return PROGRAM if started_as_program() else "python -m orchestrator"


def _refuse(word: str) -> int:
    from trainable.configfile.mistakes import unknown

    kind, names = ("option", [name for name, _ in OPTIONS]) if word.startswith("-") else ("command", _names())
    print(f"{_name()}: {unknown(word, names, kind)}", file=sys.stderr)
    return 2


def _names() -> list[str]:
    return [command.name for command in COMMANDS]


def _print_completion(rest: Sequence[str]) -> int:
    from orchestrator.completion import SHELLS, script

    if len(rest) != 1 or rest[0] not in SHELLS:
        print(f"{_name()} --print-completion: takes one of {', '.join(SHELLS)}", file=sys.stderr)
        return 2
    parsers = [(name, line, import_module(module).parser()) for name, module, line, _ in COMMANDS]
    print(script(rest[0], parsers, OPTIONS))
    return 0


def _search_here() -> None:
    """Look for modules in this folder first, as ``python -m`` does: parts of the user's own may lie there."""
    if started_as_program() and sys.path:
        sys.path[0] = os.getcwd()


if __name__ == "__main__":
    program()
