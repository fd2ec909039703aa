"""Environment variables in a study file: ``${NAME}`` inside any text; ``$${`` stands for a literal ``${``.

A value that is wholly ``${NAME}`` is read as a YAML scalar, so that numbers stay numbers.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from orchestrator.spec.document import read_scalar
from orchestrator.spec.language import is_domain
from orchestrator.spec.mistakes import Mistake, show_path
from orchestrator.spec.node import Key, Node, written

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def expand(node: Node, env: Mapping[str, str], mistakes: list[Mistake], path: tuple[Key, ...] = ()) -> Node:
    """The tree with variables replaced by their values; a variable that is not set is a mistake."""
    if isinstance(node.value, dict):
        return replace(node, value={k: expand(v, env, mistakes, (*path, k)) for k, v in node.value.items()})
    if isinstance(node.value, list):
        return replace(node, value=[expand(v, env, mistakes, (*path, i)) for i, v in enumerate(node.value)])
    if not isinstance(node.value, str):
        return node
    return _expand_text(node, node.value, env, mistakes, path)


def _expand_text(node: Node, text: str, env: Mapping[str, str], mistakes: list[Mistake], path: tuple[Key, ...]) -> Node:
    names = [match[1] for match in _REFERENCE.finditer(text) if match[1] is not None]
    problems = [problem for name in names if (problem := _problem(name, env))]
    mistakes.extend(Mistake(node.place, show_path(path), problem) for problem in problems)
    if problems:
        return replace(node, raw=text, broken=True)
    expanded = _REFERENCE.sub(lambda match: "${" if match[1] is None else env[match[1]], text)
    wholly = len(names) == 1 and text == f"${{{names[0]}}}"
    return replace(node, value=read_scalar(expanded) if wholly else expanded, raw=text if names else None)


def _problem(name: str, env: Mapping[str, str]) -> str | None:
    if not _NAME.fullmatch(name):
        return f"'${{{name}}}' names no environment variable; a literal is written $${{"
    if not env.get(name):
        return f"the environment variable {name} is {'empty' if name in env else 'not set'}"
    return None


def from_env(root: Node) -> dict[str, str]:
    """The values that name environment variables, as written, by dotted path; a list is one value.

    The bounds of a domain are left out: no trial holds them. Where several options of a choice name variables for the
    same path, all their texts are given.
    """
    texts: dict[str, list[str]] = {}
    for path, text in _texts(root, ""):
        texts.setdefault(path, []).append(text)
    return {path: " | ".join(dict.fromkeys(found)) for path, found in texts.items()}


def _texts(node: Node, path: str) -> Iterator[tuple[str, str]]:
    if node.raw is not None:
        yield path, node.raw
    elif isinstance(node.value, dict) and is_domain(node.value):
        options = node.value["choice"].value if "choice" in node.value else None
        for option in options if isinstance(options, list) else ():
            yield from _texts(option, path)
    elif isinstance(node.value, dict):
        for key, child in node.value.items():
            yield from _texts(child, f"{path}.{key}" if path else key)
    elif isinstance(node.value, list) and any(True for child in node.value for _ in _texts(child, path)):
        yield path, json.dumps(written(node))
