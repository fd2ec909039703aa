"""Environment variables in a configuration file: ``${NAME}`` inside any text; ``$${`` stands for a literal ``${``.

A value that is wholly ``${NAME}`` is read as a YAML scalar, so that numbers stay numbers; ``texts`` makes a text of it
where a text is wanted. No message about a file shows what a variable holds.
"""

import os.path
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from trainable.configfile.document import read_scalar
from trainable.configfile.mistakes import Mistake, is_utf8, printable, show_path
from trainable.configfile.node import Key, Node, scalars, with_children

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}")
SHORTEST_SECRET = 4
"""Characters: shorter values of the environment are no secret, and are found in words that mean something else."""
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
    if not names:
        return replace(node, value=expanded)
    value = read_scalar(expanded) if text == f"${{{names[0]}}}" else expanded
    return replace(node, value=value, raw=text, env={name: env[name] for name in names})


def _problem(name: str, env: Mapping[str, str]) -> str | None:
    if not _NAME.fullmatch(name):
        return f"'${{{name}}}' names no environment variable; a literal is written $${{"
    if not env.get(name):
        return f"the environment variable {name} is {'empty' if name in env else 'not set'}"
    return None if is_utf8(env[name]) else f"the environment variable {name} is not UTF-8 text"


def masked(text: str, root: Node) -> str:
    """The text with what the environment gave to a tree as the file writes it."""
    values: dict[str, str] = {}
    for node in scalars(root):
        values |= {value: f"${{{name}}}" for name, value in node.env.items()}
        if node.raw is not None and isinstance(node.value, str):
            values[node.value] = node.raw
    values |= {os.path.normpath(value): raw for value, raw in values.items() if "/" in value}
    for value in sorted(values, key=len, reverse=True):  # one may hold another
        if len(value) >= SHORTEST_SECRET:
            before = r"(?<![\w.])" if value[0].isalnum() else ""
            after = r"(?!\w|\.\w)" if value[-1].isalnum() else ""
            written = values[value].replace("\\", r"\\")
            text = re.sub(f"{before}{re.escape(printable(value))}{after}", written, text)
    return text


def hide_values(mistakes: Iterable[Mistake], root: Node) -> list[Mistake]:
    """The mistakes of a tree, none of which shows what a variable holds."""
    return [replace(mistake, message=masked(mistake.message, root)) for mistake in mistakes]
