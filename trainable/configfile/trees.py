"""Plain trees, as JSON holds them: one value replaced, and YAML text that `read_yaml` reads as it was."""

import json
from collections.abc import Mapping
from itertools import pairwise

import yaml
from pydantic import JsonValue

from trainable.configfile.document import read_scalar, read_yaml
from trainable.configfile.mistakes import ConfigError, Mistake, RuleError
from trainable.configfile.node import JsonObject, Place, entries_of, plain


def set_at(tree: Mapping[str, JsonValue], path: str, value: JsonValue) -> JsonObject:
    """A copy of a plain tree with one value replaced; mappings on the way are made where there are none.

    Raises:
        RuleError: the dotted path leads through a value that is no mapping.
    """
    root = branch = dict(tree)
    *sections, leaf = path.split(".")
    for section, below in pairwise((*sections, leaf)):
        inner = branch.get(section)
        if inner is not None and not isinstance(inner, dict):
            raise RuleError(f"{section} is {inner!r}, which has no key {below}", path)
        branch[section] = inner = dict(inner or {})
        branch = inner
    branch[leaf] = value
    return root


def escaped(tree: Mapping[str, JsonValue]) -> JsonObject:
    """A copy whose texts name no environment variables when they are read from a file; keys are never expanded."""
    copy: JsonObject = json.loads(json.dumps(dict(tree)).replace("${", "$${"))
    return copy


def write_yaml(tree: Mapping[str, JsonValue], *, ascii_only: bool = True, short: bool = False) -> str:
    """YAML text of a tree; texts that this project's reader would take for numbers are quoted, ``${`` stays.

    ``short`` writes mappings and lists that hold nothing but scalars on a line.
    """
    flow = None if short else False
    return yaml.dump(dict(tree), Dumper=_Dumper, sort_keys=False, allow_unicode=not ascii_only, default_flow_style=flow)


def read_tree(text: str) -> JsonObject:
    """The tree that `write_yaml` wrote; ``${`` stays.

    Raises:
        ConfigError: the text is of another origin: no YAML, or no mapping.
    """
    mistakes: list[Mistake] = []
    root = read_yaml(text, lambda line: Place("yaml", line), mistakes)
    if root is None or mistakes or not isinstance(root.value, dict):
        raise ConfigError(mistakes)
    return {key: plain(child) for key, child in entries_of(root).items()}


class _Dumper(yaml.SafeDumper):
    """PyYAML's writer, which knows YAML 1.1 only: there ``1e3`` and ``08`` are text."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None if read_scalar(text) == text else "'"
    if not _BREAKS.isdisjoint(text):
        style = '"'  # the only one in which PyYAML escapes them
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_BREAKS = frozenset("\x85\u2028\u2029\ufeff")
"""What YAML takes for ends of lines besides those of Unix, and for the beginning of a file."""
_Dumper.add_representer(str, _text)
