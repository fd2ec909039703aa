"""What is wrong with a configuration file: one line per mistake, with place, value, rule and valid names."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial

from trainable.configfile.node import Key, Node, Place, nearest

MOST_NAMES = 40
"""Longer lists of valid names are not printed; the closest names are."""

SHORTEST_ABBREVIATION, SHORTEST_BEGINNING = 3, 2
"""Letters of a word that is looked up as an abbreviation, and of the beginning of a part."""


@dataclass(frozen=True)
class Mistake:
    """One mistake; ``str()`` is its line in the error output."""

    place: Place
    path: str
    """Where in the file, as ``data.size[0]``; empty where the mistake is no value's."""
    message: str

    def __str__(self) -> str:
        if not self.path:
            return printable(f"{self.place}: {self.message}")
        return printable(f"{self.place}{'' if self.place.line else ':'} {self.path}: {self.message}")


class ConfigError(Exception):
    """A file that cannot be used; ``mistakes`` holds all that is wrong with it, in the order of the lines."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        unique = dict.fromkeys(mistakes)
        self.mistakes = sorted(unique, key=lambda mistake: (mistake.place.line is None, mistake.place.line or 0))
        super().__init__("\n".join(map(str, self.mistakes)))


MISSING = "missing"
"""The message of a rule for a setting that has to be written."""


class RuleError(ValueError):
    """A value breaks a rule that a file cannot tell by its type: one line each, with the value to change in front."""

    def __init__(self, message: str | Sequence[str], path: str = "") -> None:
        self.lines = tuple(map(printable, [message] if isinstance(message, str) else message))
        self.message = "\n".join(self.lines)
        self.path: tuple[Key, ...] = tuple(path.split(".")) if path else ()
        super().__init__("\n".join(f"{path}: {line}" if path else line for line in self.lines))

    def mistakes(self, root: Node) -> list[Mistake]:
        """The lines, placed at the deepest part of the path that the file writes."""
        place = nearest(root, self.path).place
        return [Mistake(place, show_path(self.path), line) for line in self.lines]


def printable(text: object) -> str:
    """The text in a line: bytes that are no UTF-8, and what would break the line or steer a terminal, as escapes."""
    return "".join(char if char.isprintable() else _escaped(char) for char in str(text))


def is_utf8(text: str) -> bool:
    """Whether the text can be written as UTF-8: Python keeps other bytes of the environment as lone surrogates."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _escaped(char: str) -> str:
    byte = ord(char) - 0xDC00  # how Python keeps a byte of a file's name that is no UTF-8
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else char.encode("unicode_escape").decode()


def show_path(keys: Iterable[Key]) -> str:
    """``("data", "size", 0)`` as ``data.size[0]``."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")


def close_names(word: str, names: Sequence[str]) -> list[str]:
    """The names that a word may have meant, the closest first: mistyped ones, else those that it abbreviates."""
    return get_close_matches(word, names, n=3) or sorted(filter(partial(_abbreviates, word), names), key=len)[:3]


def _abbreviates(word: str, name: str) -> bool:
    """Whether a word is made of the beginnings of parts of a name, in order: ``invfreq`` of ``inverse_frequency``."""
    rest = re.sub(r"\W|_", "", word)
    if len(rest) < SHORTEST_ABBREVIATION:
        return False
    for part in re.split(r"\W|_", name):
        common = os.path.commonprefix([rest, part])  # noqa: RUF071  # letters of a word, no paths
        if len(common) >= min(len(part), SHORTEST_BEGINNING):
            rest = rest.removeprefix(common)
    return not rest


def unknown(word: str, names: Sequence[str], what: str = "") -> str:
    """The message for a name outside a closed set, with the names that are in it."""
    lower = {name.lower(): name for name in names}
    close = [lower[name] for name in close_names(word.lower(), list(lower))]
    subject = f"unknown {what} '{word}'" if what else f"unknown '{word}'"
    if len(names) > MOST_NAMES:
        return f"{subject}; " + (f"close names: {', '.join(close)}" if close else f"{len(names)} names are known")
    return f"{subject}; one of {', '.join(names)}" + (f" (did you mean '{close[0]}'?)" if close else "")
