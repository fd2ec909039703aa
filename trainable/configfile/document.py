"""Reads YAML text into a tree with places. Scalars follow YAML 1.2: ``1e-3`` is a float, ``on`` and ``yes`` are text.

Anchors, aliases and merge keys work; tags (``!!int``), several documents and duplicate keys are mistakes.
"""

import re
from collections.abc import Callable
from typing import TypeAlias

import yaml

from trainable.configfile.mistakes import Mistake, show_path
from trainable.configfile.node import Key, Node, Place, Scalar

PlaceOf: TypeAlias = Callable[[int], Place]
"""Gives the place of a line of the text (from 1)."""

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]{1,300}")  # longer ones are floats, that is infinite
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"([-+]?)\.(inf|Inf|INF|nan|NaN|NAN)")
DEEPEST = 100
"""Levels of a file: whoever walks its tree recurses."""
_STRING_TAG = "tag:yaml.org,2002:str"


def read_yaml(text: str, place_of: PlaceOf, mistakes: list[Mistake]) -> Node | None:
    """The tree of a YAML document; None, with a mistake, where it is no YAML. Adds what it finds to ``mistakes``."""
    try:
        document = yaml.compose(text, Loader=yaml.BaseLoader)
        return Node(None, place_of(1)) if document is None else _Reader(place_of, mistakes).node(document, ())
    except yaml.YAMLError as error:
        line, problem = _describe(error, text)
        mistakes.append(Mistake(place_of(line), "", f"YAML syntax: {problem}"))
    except RecursionError:
        mistakes.append(Mistake(place_of(1), "", "YAML syntax: nested too deeply"))
    return None


def read_scalar(text: str) -> Scalar:
    """The value of an unquoted scalar."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if special := _SPECIAL.fullmatch(text):
        return float(special[1] + special[2])
    return text


class _Reader:
    """Turns PyYAML's nodes into ours, and reports what they hold that a study file may not."""

    def __init__(self, place_of: PlaceOf, mistakes: list[Mistake]) -> None:
        self.place_of = place_of
        self.mistakes = mistakes
        self.open: set[int] = set()
        """PyYAML nodes being read: an alias to one of them would never end."""

    def node(self, source: yaml.Node, path: tuple[Key, ...], place: Place | None = None) -> Node:
        place = place or self._place(source)
        if len(path) > DEEPEST:
            raise RecursionError
        if id(source) in self.open:
            return self._refused(place, path, f"the alias '{show_path(path)}' contains itself")
        self.open.add(id(source))
        try:
            match source:
                case yaml.MappingNode():
                    return Node(self._entries(source, path), place)
                case yaml.SequenceNode():
                    return Node([self.node(item, (*path, i)) for i, item in enumerate(source.value)], place)
                case yaml.ScalarNode():
                    return self._scalar(source, path, place)
                case _:
                    raise AssertionError(source)  # PyYAML has no other node
        finally:
            self.open.remove(id(source))

    def _scalar(self, source: yaml.ScalarNode, path: tuple[Key, ...], place: Place) -> Node:
        if source.tag != _STRING_TAG:
            return self._refused(place, path, f"the YAML tag '{source.tag}' is not supported; write the plain value")
        text: str = source.value
        return Node(text if source.style else read_scalar(text), place)

    def _entries(self, source: yaml.MappingNode, path: tuple[Key, ...]) -> dict[str, Node]:
        merged: dict[str, Node] = {}
        own: dict[str, Node] = {}
        for key, value in source.value:
            place = self._place(key)
            if not isinstance(key, yaml.ScalarNode):
                self._refused(place, path, "a key is a plain word, not a list or mapping")
            elif key.value == "<<" and not key.style:
                merged = self._merge(value, path) | merged
            elif key.value in own:
                first = own[key.value].place
                self._refused(place, (*path, key.value), f"duplicate key '{key.value}'; first written at {first}")
            else:
                own[key.value] = self.node(value, (*path, key.value), place)
        return merged | own

    def _merge(self, source: yaml.Node, path: tuple[Key, ...]) -> dict[str, Node]:
        parts = source.value if isinstance(source, yaml.SequenceNode) else [source]
        merged: dict[str, Node] = {}
        for part in parts:
            node = self.node(part, path)
            if isinstance(node.value, dict):
                merged = node.value | merged
            else:
                self._refused(self._place(part), path, f"'<<' merges mappings, got {node}")
        return merged

    def _place(self, source: yaml.Node) -> Place:
        return self.place_of(source.start_mark.line + 1)

    def _refused(self, place: Place, path: tuple[Key, ...], message: str) -> Node:
        self.mistakes.append(Mistake(place, show_path(path), message))
        return Node(None, place, broken=True)


def _describe(error: yaml.YAMLError, text: str) -> tuple[int, str]:
    if isinstance(error, yaml.reader.ReaderError):
        return text.count("\n", 0, error.position) + 1, f"the character {chr(error.character)!r} is not allowed"
    if not isinstance(error, yaml.MarkedYAMLError) or not error.problem_mark:
        return 1, " ".join(str(error).split())
    mark = error.problem_mark
    lines = text.splitlines()
    hint = '; quote "${NAME}" inside [...] and {...}' if mark.line < len(lines) and "${" in lines[mark.line] else ""
    return mark.line + 1, ", ".join(part for part in (error.context, error.problem) if part) + hint
