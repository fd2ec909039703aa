"""Parsers -> the words that may stand in a command line, as much of them as a shell can complete."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["file", "folder", "study", "other"]
_KINDS: dict[str, Kind] = {
    "SPEC": "file",
    "FILE": "file",
    "CONFIG": "file",
    "IMAGES": "file",
    "IMAGE": "file",
    "DIR": "folder",
    "STUDY": "study",
}
"""What a value is, by the name that the usage line gives it."""


@dataclass(frozen=True)
class Argument:
    """A value: of an option, or one that stands alone."""

    kind: Kind
    choices: tuple[str, ...] = ()
    repeated: bool = False
    count: int = 1
    """Words of the value."""


@dataclass(frozen=True)
class Option:
    """An option."""

    names: tuple[str, ...]
    line: str
    value: Argument | None
    """None of a flag."""


@dataclass(frozen=True)
class Words:
    """What may follow a command."""

    path: tuple[str, ...]
    """The words that lead to it: ``("submit", "slurm")``; none of the program itself."""
    line: str
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...] = ()
    commands: tuple["Words", ...] = ()

    def all(self) -> Iterator["Words"]:
        """This one and all below it."""
        yield self
        for command in self.commands:
            yield from command.all()


def words_of(parser: argparse.ArgumentParser, path: tuple[str, ...], line: str) -> Words:
    """What a parser takes; argparse has no public list of that."""
    options, arguments, commands = [], [], []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            lines = {choice.dest: choice.help or "" for choice in action._choices_actions}
            commands = [words_of(p, (*path, name), lines.get(name, "")) for name, p in action.choices.items()]
        elif action.option_strings:
            value = None if action.nargs == 0 else _argument(action)
            options.append(Option(tuple(action.option_strings), _line(parser, action), value))
        else:
            arguments.append(_argument(action))
    return Words(path, line, tuple(options), tuple(arguments), tuple(commands))


def _argument(action: argparse.Action) -> Argument:
    name = action.metavar if isinstance(action.metavar, str) else ""
    repeated = action.nargs in ("*", "+", argparse.REMAINDER)
    count = action.nargs if isinstance(action.nargs, int) else 1
    return Argument(_KINDS.get(name.upper(), "other"), tuple(map(str, action.choices or ())), repeated, count)


def _line(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    if not action.help or action.help == argparse.SUPPRESS:
        return ""
    return action.help % {**vars(action), "prog": parser.prog}
