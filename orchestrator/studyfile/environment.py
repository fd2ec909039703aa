"""Which settings of a study's trials name environment variables (``${NAME}``): these are never shown by value."""

import json
from collections.abc import Iterator

from orchestrator.studyfile.space.notation import is_domain, options_of
from trainable.configfile.node import Node, written


def from_env(root: Node) -> dict[str, str]:
    """The values that name environment variables, as written, by dotted path; a list is one value.

    The bounds of a domain are left out: no trial holds them. Where several options of a choice name variables for the
    same path, all their texts are given.
    """
    texts: dict[str, list[str]] = {}
    for path, text in _texts(root, ""):
        texts.setdefault(path, []).append(text)
    return {path: " | ".join(dict.fromkeys(several)) for path, several in texts.items()}


def _texts(node: Node, path: str) -> Iterator[tuple[str, str]]:
    if node.raw is not None:
        yield path, node.raw
    elif is_domain(node.value):
        for option in options_of(node):
            yield from _texts(option, path)
    elif isinstance(node.value, dict):
        for key, child in node.value.items():
            yield from _texts(child, f"{path}.{key}" if path else key)
    elif isinstance(node.value, list) and any(True for child in node.value for _ in _texts(child, path)):
        yield path, json.dumps(written(node))
