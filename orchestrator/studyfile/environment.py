"""Which settings of a study's trials name environment variables (``${NAME}``): these are never shown by value."""

import json
from collections.abc import Iterator

from orchestrator.studyfile.space.notation import is_domain, options_of, read_domain
from trainable.configfile.node import Node, child_of, plain, written

Found = tuple[str, str | None, object]
"""A path, and the text that names variables there; where it is None the value that the file writes there."""


def from_env(root: Node) -> dict[str, str]:
    """The values that name environment variables, as written, by dotted path; a list is one value.

    The bounds of a domain are left out: no trial holds them. Where several options of a choice name variables for the
    same path, all their texts are given. Where others do not, each has an entry of its own with an empty text, its key
    made by `literal`: such a value is shown as it is.
    """
    texts: dict[str, list[str]] = {}
    literals: dict[str, str] = {}
    for path, text, value in _texts(root, ""):
        if text is None:
            literals[literal(path, value)] = path
        else:
            texts.setdefault(path, []).append(text)
    several = {path: " | ".join(dict.fromkeys(every)) for path, every in texts.items()}
    return several | {key: "" for key, path in literals.items() if path in texts}


def literal(path: str, value: object) -> str:
    """The key of an option's value that the file itself writes: ``model.encoder="resnet18"``; 1 is 1.0."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{path}={json.dumps(float(value) if number else value)}"  # type: ignore[arg-type]


def _texts(node: Node, path: str) -> Iterator[Found]:
    if node.raw is not None:
        yield path, node.raw, None
    elif is_domain(node.value):
        options = options_of(node)
        labels = read_domain(node).labels if options else ()  # type: ignore[union-attr]
        for option, label in zip(options, labels, strict=True):
            yield from _texts(option, path)
            name = child_of(option, "name")
            if option.raw is None and (name is None or name.raw is None):
                yield path, None, label
    elif isinstance(node.value, dict):
        for key, child in node.value.items():
            inner = list(_texts(child, f"{path}.{key}" if path else key))
            yield from inner
            if key == "name" and path:  # a name alone stands for the mapping with its defaults
                yield from ((path, None, value) for _, text, value in inner if text is None)
    elif isinstance(node.value, list) and any(text is not None for c in node.value for _, text, _ in _texts(c, path)):
        yield path, json.dumps(written(node)), None
    else:
        yield path, None, plain(node)
