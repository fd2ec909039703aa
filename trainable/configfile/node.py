"""The tree of a configuration file: plain values, each with the place where it was written."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from pydantic import JsonValue

Scalar: TypeAlias = bool | int | float | str | None
Key: TypeAlias = str | int
"""A mapping's key or a list's index; a path is a sequence of them."""
JsonObject: TypeAlias = dict[str, JsonValue]
"""A tree of plain values, as JSON holds it."""


@dataclass(frozen=True)
class Place:
    """A line of a file, or the ``--set`` option that wrote a value."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True)
class Node:
    """A value and its place: for an entry of a mapping the line of its key."""

    value: "Scalar | list[Node] | dict[str, Node]"
    place: Place
    raw: str | None = None
    """The text as written, where it names environment variables."""
    env: Mapping[str, str] = field(default_factory=dict)
    """What these variables hold."""
    broken: bool = False
    """Its mistake is already reported; what follows from it is not."""
    domain: str | None = None
    """The numeric domain that this value is a bound of, such as ``uniform [0, 1]``."""

    def __str__(self) -> str:
        if self.domain is not None:
            return self.domain
        if isinstance(self.value, dict):
            return "a mapping"
        if isinstance(self.value, list):
            return "a list"
        if self.raw is not None:
            return f"'{self.raw}'"
        return f"'{self.value}'" if isinstance(self.value, str) else json.dumps(self.value)


def plain(node: Node) -> JsonValue:
    """The values without their places."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def written(node: Node) -> JsonValue:
    """The values as written: environment variables by name, so that reading the tree again gives the same values."""
    if isinstance(node.value, dict):
        return {key: written(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [written(child) for child in node.value]
    if node.raw is not None:
        return node.raw
    return node.value.replace("${", "$${") if isinstance(node.value, str) else node.value


def child_of(node: Node, key: Key) -> Node | None:
    """The entry or item under a key; None where there is none."""
    if isinstance(node.value, dict):
        return node.value.get(str(key))
    if isinstance(node.value, list) and isinstance(key, int) and key < len(node.value):
        return node.value[key]
    return None


def nearest(node: Node, keys: Sequence[Key]) -> Node:
    """The deepest existing value on a path."""
    for key in keys:
        child = child_of(node, key)
        if child is None:
            break
        node = child
    return node


def entries_of(node: Node) -> dict[str, Node]:
    """The entries of a node that is known to be a mapping."""
    assert isinstance(node.value, dict)
    return node.value


def scalars(node: Node) -> Iterator[Node]:
    """All values of a tree that are no mapping or list."""
    if not isinstance(node.value, dict | list):
        yield node
    for child in children_of(node):
        yield from scalars(child)


def with_children(node: Node, change: Callable[[Key, Node], Node]) -> Node:
    """The mapping or list with each child changed, given its key or index; a scalar as it is."""
    if isinstance(node.value, dict):
        return replace(node, value={key: change(key, child) for key, child in node.value.items()})
    if isinstance(node.value, list):
        return replace(node, value=[change(index, child) for index, child in enumerate(node.value)])
    return node


def items_of(node: Node) -> list[tuple[Key, Node]]:
    """The children of a mapping or list, each with its key or index; none of a scalar."""
    if isinstance(node.value, dict):
        return list(node.value.items())
    return list(enumerate(node.value)) if isinstance(node.value, list) else []


def children_of(node: Node) -> list[Node]:
    """The entries of a mapping or the items of a list; none of a scalar."""
    return [child for _, child in items_of(node)]


def has_broken(node: Node) -> bool:
    """Whether some value of the tree is broken."""
    return node.broken or any(map(has_broken, children_of(node)))
