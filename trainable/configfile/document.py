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
MOST_VALUES = 100_000
"""Values of a file: aliases of aliases grow beyond any memory."""
_NO_YAML = re.compile(f"{yaml.reader.Reader.NON_PRINTABLE.pattern}|[\x85\u2028\u2029]")
"""What a text of JSON may hold and one of YAML may not, or not as it stands: ends of lines."""


def read_yaml(text: str, place_of: PlaceOf, mistakes: list[Mistake]) -> Node | None:
    """The tree of a YAML document; None, with a mistake, where it is no YAML. Adds what it finds to ``mistakes``."""
    try:
        document = yaml.compose(text, Loader=_Loader)
        return Node(None, place_of(1)) if document is None else _Reader(place_of, mistakes).node(document, ())
    except yaml.YAMLError as error:
        line, problem = _describe(error, text)
        mistakes.append(Mistake(place_of(line), "", f"YAML syntax: {problem}"))
    except RecursionError:
        mistakes.append(Mistake(place_of(1), "", "YAML syntax: nested too deeply"))
    return None


def as_yaml(json_text: str) -> str:
    """JSON as YAML that says the same, line by line; a tab stands only between values there."""
    return _NO_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", json_text.replace("\t", " "))


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


class _Loader(yaml.BaseLoader):
    """PyYAML's parser, whose nodes keep the tag that is written and none that is guessed."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        if node is not None and isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):  # no alias
            node.tag = event.tag  # type: ignore[assignment]  # None where none is written
        return node


class _Reader:
    """Turns PyYAML's nodes into ours, and reports what they hold that a study file may not."""

    def __init__(self, place_of: PlaceOf, mistakes: list[Mistake]) -> None:
        self.place_of = place_of
        self.mistakes = mistakes
        self.open: set[int] = set()
        """PyYAML nodes being read: an alias to one of them would never end."""
        self.values = 0

    def node(self, source: yaml.Node, path: tuple[Key, ...], place: Place | None = None) -> Node:
        place = place or self._place(source)
        self.values += 1
        if len(path) > DEEPEST:
            raise RecursionError
        if self.values > MOST_VALUES:
            raise yaml.YAMLError(f"more than {MOST_VALUES} values, those of aliases counted wherever they stand")
        if id(source) in self.open:
            return self._refused(place, path, f"the alias '{show_path(path)}' contains itself")
        if self._tagged(source, place, path):
            return Node(None, place, broken=True)
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
        text = self._text(source, place, path)
        if text is None:
            return Node(None, place, broken=True)
        return Node(text if source.style else read_scalar(text), place)

    def _tagged(self, source: yaml.Node, place: Place, path: tuple[Key, ...]) -> bool:
        if source.tag is not None:
            self._refused(place, path, f"the YAML tag '{source.tag}' is not supported; write the plain value")
        return source.tag is not None

    def _text(self, source: yaml.ScalarNode, place: Place, path: tuple[Key, ...]) -> str | None:
        """The text of a scalar; JSON writes a character beyond 0xffff as two surrogates, which are none alone."""
        text: str = source.value
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._refused(place, path, f"'{text}' holds half of a character (a lone surrogate)")
            return None

    def _entries(self, source: yaml.MappingNode, path: tuple[Key, ...]) -> dict[str, Node]:
        merged: dict[str, Node] = {}
        own: dict[str, Node] = {}
        places: dict[str, Place] = {}
        for key, value in source.value:
            place, name = self._place(key), self._key(key, path)
            if name is None:
                continue
            if name in places:
                self._refused(place, (*path, name), f"duplicate key '{name}'; first written at {places[name]}")
            elif name == "<<" and not key.style:
                merged = self._merge(value, path)
            else:
                own[name] = self.node(value, (*path, name), place)
            places.setdefault(name, place)
        return merged | own

    def _key(self, source: yaml.Node, path: tuple[Key, ...]) -> str | None:
        place = self._place(source)
        if isinstance(source, yaml.ScalarNode):
            return None if self._tagged(source, place, path) else self._text(source, place, path)
        self._refused(place, path, "a key is a plain word, not a list or mapping")
        return None

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
    problem = ", ".join(part for part in (error.context, error.problem) if part)
    hint = '; quote "${NAME}" inside [...] and {...}' if mark.line < len(lines) and "${" in lines[mark.line] else ""
    if "'\\t'" in problem:
        hint = "; indent with spaces, or let the name of a JSON file end in .json"
    return mark.line + 1, problem + hint
