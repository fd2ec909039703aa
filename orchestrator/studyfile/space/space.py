"""The search space: a trial's configuration in which some values are domains, and what can be asked of it.

Every walk visits the values in the order of the study file. A domain's name is the dotted path of its value; inside an
option of a choice it is the choice's name, the option's label and the path within the option, as in
``suppression.sampling.inverse_frequency.tau``.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from pydantic import JsonValue

from orchestrator.studyfile.space.domain import Choice, Domain, Float, Int, Tree, Value
from trainable.config import TrialConfig, read_trial
from trainable.configfile.node import JsonObject
from trainable.section import all_settings

Pick: TypeAlias = Callable[[str, Domain], Value]
"""Given a domain's name and the domain: a number, or the label of an option."""


MOST_CELLS = 10_000
"""A finite space up to this size is searched without repeating a configuration; a grid has no more."""


@dataclass(frozen=True)
class SearchSpace:
    """All configurations that a study may try."""

    tree: dict[str, Tree]

    def resolve(self, pick: Pick) -> JsonObject:
        """The configuration (without seed) with every domain replaced by what ``pick`` gives for it.

        Domains inside an option are asked for only where that option was picked.

        Raises:
            ValueError: a pick lies outside its domain.
        """
        return {key: _resolve(child, key, pick) for key, child in self.tree.items()}

    def trial(self, pick: Pick, seed: int) -> TrialConfig:
        """The trial of the configuration that ``pick`` gives, as `resolve` does."""
        return read_trial({**self.resolve(pick), "seed": seed})

    def at_center(self) -> JsonObject:
        """The configuration (without seed) with every domain at its `center`."""
        return self.resolve(self.center())

    def domains(self) -> list[tuple[str, Domain, bool]]:
        """Name and domain of every searched value, and whether an option of another one leads to it."""
        return list(_domains(self.tree, "", False))

    def cells(self) -> Iterator[dict[str, Value]]:
        """The picks of every configuration of a finite space; a domain that does not apply is left out.

        Raises:
            ValueError: the space is not finite, see `size`.
        """
        return _cells(self.tree, "")

    def size(self) -> int | None:
        """The number of cells; None where a domain is continuous."""
        return _size(self.tree)

    def locate(self, config: TrialConfig) -> dict[str, Value] | None:
        """The picks that give this configuration; None where it lies outside the space."""
        for picks in _matches(self.tree, all_settings(config), ""):
            if self.trial(lambda name, _, picks=picks: picks[name], config.seed) == config:  # type: ignore[misc]
                return picks
        return None

    def max_epochs(self) -> int:
        """Epochs of the longest trial."""
        return max(_epochs(self.tree, ("train", "epochs")), default=0)

    def center(self) -> Pick:
        """Picks the middle of numeric domains and the first option of choices."""
        return lambda _, domain: domain.labels[0] if isinstance(domain, Choice) else domain.center()


def _resolve(tree: Tree, name: str, pick: Pick) -> JsonValue:
    match tree:
        case Choice():
            label = pick(name, tree)
            return _resolve(tree.option(label), f"{name}.{label}", pick)
        case Float() | Int():
            value = pick(name, tree)
            if isinstance(value, str) or value is None or not tree.contains(value):
                raise ValueError(f"{name}: {value!r} lies outside {tree}")
            return tree.snap(value)
        case dict():
            return {key: _resolve(child, f"{name}.{key}", pick) for key, child in tree.items()}
        case list():
            return [_resolve(child, f"{name}.{index}", pick) for index, child in enumerate(tree)]
        case _:
            return tree


def _epochs(tree: Tree, keys: Sequence[str]) -> Iterator[int]:
    match tree:
        case Choice():
            for option in tree.options:
                yield from _epochs(option, keys)
        case Int():
            yield tree.high
        case dict() if keys and keys[0] in tree:
            yield from _epochs(tree[keys[0]], keys[1:])
        case int():
            yield tree


def _children(tree: dict[str, Tree] | list[Tree], name: str) -> list[tuple[Tree, str]]:
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return [(child, f"{name}.{key}" if name else str(key)) for key, child in entries]


def _domains(tree: Tree, name: str, conditional: bool) -> Iterator[tuple[str, Domain, bool]]:
    match tree:
        case Choice():
            yield name, tree, conditional
            for label, option in zip(tree.labels, tree.options, strict=True):
                yield from _domains(option, f"{name}.{label}", True)
        case Float() | Int():
            yield name, tree, conditional
        case dict() | list():
            for child, child_name in _children(tree, name):
                yield from _domains(child, child_name, conditional)


def _size(tree: Tree) -> int | None:
    match tree:
        case Choice():
            sizes = [_size(option) for option in tree.options]
            return None if None in sizes else sum(size for size in sizes if size)
        case Float():
            return None if tree.step is None else round((tree.high - tree.low) / tree.step) + 1
        case Int():
            return (tree.high - tree.low) // tree.step + 1
        case dict() | list():
            sizes = [_size(child) for child, _ in _children(tree, "")]
            return None if None in sizes else math.prod(size for size in sizes if size)
        case _:
            return 1


def _cells(tree: Tree, name: str) -> Iterator[dict[str, Value]]:
    match tree:
        case Choice():
            for label, option in zip(tree.labels, tree.options, strict=True):
                for picks in _cells(option, f"{name}.{label}"):
                    yield {name: label, **picks}
        case Float() | Int():
            values = tree.values()
            if values is None:
                raise ValueError(f"{name} is continuous: it has no cells")
            for value in values:
                yield {name: value}
        case dict() | list():
            yield from _combined([partial(_cells, *child) for child in _children(tree, name)])
        case _:
            yield {}


def _combined(children: Sequence[Callable[[], Iterator[dict[str, Value]]]]) -> Iterator[dict[str, Value]]:
    """The picks of one value of each child together; made as they are asked for, there may be millions."""
    if not children:
        yield {}
        return
    for first in children[0]():
        for rest in _combined(children[1:]):
            yield {**first, **rest}


def _matches(tree: Tree, value: JsonValue, name: str) -> Iterator[dict[str, Value]]:
    """Picks that could give ``value``: defaults that the tree leaves out are not compared."""
    match tree:
        case Choice():
            for label, option in zip(tree.labels, tree.options, strict=True):
                for picks in _matches(option, value, f"{name}.{label}"):
                    yield {name: label, **picks}
        case Float() | Int():
            if isinstance(value, int | float) and tree.contains(value):
                yield {name: tree.snap(value)}
        case dict():
            if isinstance(value, dict) and value.keys() >= tree.keys():
                named = zip(tree, _children(tree, name), strict=True)
                yield from _combined([partial(_matches, child, value[key], path) for key, (child, path) in named])
        case list():
            if isinstance(value, list) and len(value) == len(tree):
                items = zip(_children(tree, name), value, strict=True)
                yield from _combined([partial(_matches, child, item, path) for (child, path), item in items])
        case _:
            # a name alone stands for the section of that name with its defaults; a file's name for its content, and
            # auto for what it gives, which the caller compares
            content = isinstance(tree, str) and isinstance(value, dict) and "sha256" in value
            scalar = value["name"] if isinstance(value, dict) and "name" in value else value
            if content or tree in ("auto", scalar):
                yield {}
