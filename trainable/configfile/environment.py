"""Environment variables in a configuration file: ``${NAME}`` inside any text; ``$${`` stands for a literal ``${``.

A value that is wholly ``${NAME}`` is read as a YAML scalar, so that numbers stay numbers.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from trainable.configfile.document import read_scalar
from trainable.configfile.mistakes import Mistake, show_path
from trainable.configfile.node import Key, Node, with_children

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def expand(node: Node, env: Mapping[str, str], mistakes: list[Mistake], path: tuple[Key, ...] = ()) -> Node:
    """The tree with variables replaced by their values; a variable that is not set is a mistake."""
    if isinstance(node.value, str):
        return _expand_text(node, node.value, env, mistakes, path)
    return with_children(node, lambda key, child: expand(child, env, mistakes, (*path, key)))


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
