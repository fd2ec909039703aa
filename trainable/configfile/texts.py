"""What is text because a section takes text there: ``${NAME}`` may hold ``2024`` for the name of a study."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

from pydantic import BaseModel

from trainable.configfile.node import Key, Node, with_children


def as_texts(node: Node, *kinds: object) -> Node:
    """The tree with values that are wholly ``${NAME}`` as texts where these types take texts and not what was read."""
    text = node.env.get((node.raw or "")[2:-1])
    if text is not None:
        leaves = list(_members(kinds))
        taken = type(node.value) in leaves or (float in leaves and type(node.value) is int)
        return replace(node, value=text) if str in leaves and not taken else node
    return with_children(node, lambda key, child: as_texts(child, *(tuple(_below(kinds, key)) or kinds)))


def _members(kinds: Iterable[object]) -> Iterator[object]:
    """The types that unions name."""
    for kind in kinds:
        match get_origin(kind):
            case origin if origin is Annotated:
                yield from _members(get_args(kind)[:1])
            case origin if origin in (Union, UnionType):
                yield from _members(get_args(kind))
            case _:
                yield kind


def _below(kinds: Iterable[object], key: Key) -> Iterator[object]:
    """What may stand under a key; nothing where it is the notation of a domain, whose values stand for themselves."""
    for kind in _members(kinds):
        items = get_args(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from (field.annotation for name, field in kind.model_fields.items() if name == key)
        elif get_origin(kind) is dict:
            yield items[1]
        elif get_origin(kind) in (tuple, list) and isinstance(key, int):
            yield items[0] if items[-1] is Ellipsis or key >= len(items) else items[key]
