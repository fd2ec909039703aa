"""Domains in a study file: their notation and the search space they span.

A domain is a mapping with one of the keys of `DOMAIN_KEYS`; no section of a trial has a key of these names.
"""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

from orchestrator.studyfile.space.domain import Choice, Domain, Float, Int, Tree, Value
from trainable.configfile.mistakes import Mistake, show_path
from trainable.configfile.node import Key, Node, Place, child_of, children_of, has_broken, plain, with_children, written
from trainable.parts.section import short_name

RANGES = ("uniform", "log_uniform", "int", "log_int")
DOMAIN_KEYS = (*RANGES, "choice")


def is_domain(value: object) -> bool:
    """Whether a node's value, or a plain one, is written as a domain, well or not."""
    return isinstance(value, dict) and not value.keys().isdisjoint(DOMAIN_KEYS)


def options_of(domain: Node) -> list[Node]:
    """The options of a choice; none of a numeric domain."""
    choice = child_of(domain, "choice")
    return children_of(choice) if choice else []


def check_domains(node: Node, path: tuple[Key, ...], mistakes: list[Mistake]) -> Node:
    """The tree with every malformed domain marked as broken, a mistake for each."""
    if not is_domain(node.value):
        return with_children(node, lambda key, child: check_domains(child, (*path, key), mistakes))
    choice = child_of(node, "choice")
    if choice is not None and isinstance(choice.value, list):
        checked = with_children(choice, lambda _, option: check_domains(option, path, mistakes))
        node = with_children(node, lambda key, child: checked if key == "choice" else child)
    try:
        read_domain(node)
    except ValueError as error:
        if not has_broken(node):  # else the reason is reported already
            mistakes.append(Mistake(origin_of(node), show_path(path), str(error)))
        return replace(node, broken=True)
    return node


def read_domain(node: Node) -> Domain:
    """The domain that a mapping notes.

    Raises:
        ValueError: it is none; the message gives the rule.
    """
    assert isinstance(node.value, dict)
    keys = [key for key in DOMAIN_KEYS if key in node.value]
    others = [key for key in node.value if key not in (*keys, "step")]
    if len(keys) != 1 or others:
        raise ValueError(
            f"a domain has one of the keys {', '.join(DOMAIN_KEYS)}, and perhaps step; got {', '.join(node.value)}"
        )
    key, step = keys[0], plain(node.value["step"]) if "step" in node.value else None
    if key == "choice":
        if step is not None:
            raise ValueError("a choice has no step")
        return _read_choice(node.value[key])
    return _read_range(key, plain(node.value[key]), step)


def _read_choice(node: Node) -> Choice:
    if not isinstance(node.value, list):
        raise ValueError(f"choice: expected a list of options, got {node}")
    return Choice(tuple(tree_of(option) for option in node.value), _labels(node.value))


def _read_range(key: str, bounds: Any, step: Any) -> Float | Int:
    whole = key in ("int", "log_int")
    kinds, rule = ((int,), "whole numbers") if whole else ((int, float), "numbers")
    if not (isinstance(bounds, list) and len(bounds) == 2 and all(type(bound) in kinds for bound in bounds)):
        raise ValueError(f"{key}: expected [low, high], two {rule}; got {json.dumps(bounds)}")
    if step is not None and type(step) not in kinds:
        raise ValueError(f"step: expected {'a whole number' if whole else 'a number'}, got {json.dumps(step)}")
    low, high = bounds
    if whole:
        return Int(low, high, log=key == "log_int", step=1 if step is None else step)
    return Float(float(low), float(high), log=key == "log_uniform", step=None if step is None else float(step))


def _labels(options: list[Node]) -> tuple[Value, ...]:
    """Scalars stand for themselves, mappings go by their ``name``; lists, and mappings that share it, by their JSON.

    A part of one's own goes by the name of its class.
    """
    full = [_name(option) for option in options]
    names = _shortened(full)
    counts = Counter(names)
    return tuple(
        json.dumps(written(option), separators=(",", ":"))
        if isinstance(option.value, dict | list) and (name is None or counts[name] > 1)
        else name
        for option, name in zip(options, names, strict=True)
    )


def _shortened(names: list[Value]) -> list[Value]:
    """``module:Class`` as its class alone, where no other option goes by that name."""
    short = [short_name(name) if isinstance(name, str) else name for name in names]
    return [one if one == name or short.count(one) == 1 else name for name, one in zip(names, short, strict=True)]


def _name(option: Node) -> Value:
    if isinstance(option.value, dict):
        name = option.value.get("name")
        return name.value if name is not None and isinstance(name.value, str) else None
    return None if isinstance(option.value, list) else option.value


def tree_of(node: Node) -> Tree:
    """The values of a well-formed tree, its domains as `Domain` objects."""
    if is_domain(node.value) and not node.broken:
        return read_domain(node)
    if isinstance(node.value, dict):
        return {key: tree_of(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [tree_of(child) for child in node.value]
    return node.value


def origin_of(node: Node) -> Place:
    """The place of a domain: its line, or the option that overrides a part of it."""
    origins = map(origin_of, children_of(node))
    return next((place for place in origins if place.line is None), node.place)
