"""``--set PATH=VALUE``: replaces one value of a study file; VALUE is YAML.

A path goes through keys and list indices (``data.size[0]`` or ``data.size.0``) and into domains
(``suppression.p_max.uniform``). Missing mappings on the way are created; the schema then judges the result.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from trainable.configfile.document import read_yaml
from trainable.configfile.mistakes import Mistake, show_path
from trainable.configfile.node import Key, Node, Place

_FORM = re.compile(r"\s*([^=\s.\[\]]+(?:\.[^=\s.\[\]]+|\[[0-9]+\])*)\s*=(.*)", re.DOTALL)


def override(root: Node, text: str, mistakes: list[Mistake]) -> Node:
    """The tree with one value replaced; unchanged, with a mistake, where that cannot be."""
    place = Place(f"--set {text}")
    form = _FORM.fullmatch(text)
    if form is None:
        mistakes.append(Mistake(place, "", "expected PATH=VALUE, such as train.epochs=2"))
        return root
    value = read_yaml(form[2], lambda _: place, mistakes)
    if value is None:
        return root
    keys = re.sub(r"\[([0-9]+)\]", r".\1", form[1]).split(".")
    try:
        return _put(root, keys, value, ())
    except ValueError as error:
        mistakes.append(Mistake(place, form[1], str(error)))
        return root


def _put(node: Node, keys: Sequence[str], value: Node, path: tuple[Key, ...]) -> Node:
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if isinstance(node.value, list):
        if not key.isdecimal() or int(key) >= len(node.value):
            raise ValueError(f"{show_path(path)} is a list of {len(node.value)}, it has no item {key}")
        index = int(key)
        item = _put(node.value[index], rest, value, (*path, index))
        return replace(node, value=[*node.value[:index], item, *node.value[index + 1 :]])
    if isinstance(node.value, dict) or node.value is None:
        entries = node.value or {}
        key, rest = longest_key(entries, keys)
        entry = _put(entries.get(key, Node(None, value.place)), rest, value, (*path, key))
        return replace(node, value={**entries, key: entry})
    raise ValueError(f"{show_path(path)} is {node}, which has no key {key}; set {show_path(path)} itself")


def longest_key(entries: Mapping[str, Node], keys: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The key that a path begins with, and the rest: a key may hold dots itself, as the factors of an ablation do."""
    for end in range(len(keys), 1, -1):
        if ".".join(keys[:end]) in entries:
            return ".".join(keys[:end]), keys[end:]
    return keys[0], keys[1:]
