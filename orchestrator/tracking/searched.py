"""Which parameters of a study's runs differ between its trials: the columns and axes of its views.

What a run logs is its configuration, flat: of ``sampling: {choice: [uniform, {name: inverse_frequency, tau: ...}]}`` it
has ``suppression.sampling.name`` and perhaps ``suppression.sampling.tau``, never ``suppression.sampling``. So each
option is tried on a trial, and what differs is taken from there. Imports no mlflow.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from pydantic import JsonValue

from orchestrator.store.flat_config import flatten
from orchestrator.studyfile import AblationSection, Choice, Float, Int, SearchSpace, Value, stored_space
from orchestrator.studyfile.space.domain import Tree
from orchestrator.studyfile.space.trees import trial_of
from trainable.configfile.node import JsonObject, Scalar

MOST_TRIED = 30
"""Options of a choice, and levels of a factor, that are tried."""
MOST_OF_SECTION = 3
"""Parameters that stand for a choice between sections without a name."""
HIDDEN = "weights.path"
"""Ends names of settings that no run shows: of a file of weights its hash says which it is."""
_ABSENT = object()

Flat = dict[str, Scalar]


@dataclass(frozen=True)
class Searched:
    """A parameter of runs that differs between trials."""

    path: str
    """Its name before MLflow's own rules (`orchestrator.tracking.entries.key_of`)."""
    numeric: bool = False
    """Whether all of its values are numbers."""
    always: bool = True
    """Whether it is picked for every trial of the search; one inside an option is only with that option."""


@dataclass(frozen=True)
class _Place:
    """A domain of the tree, and the picks that lead to it."""

    tree: Choice | Float | Int
    path: str
    """Of its value in a configuration; of one inside a list the list's, which is one parameter."""
    name: str
    picked: Mapping[str, Value]
    in_list: bool


def searched(specification: JsonObject) -> tuple[Searched, ...]:
    """What the search picks, in the order of the file, each once."""
    space = _space(specification)
    if space is None:
        return ()
    places = list(_places(space.tree, "", "", {}))
    return _merged(setting for place in places for setting in _of_place(space, place, places))


def compared(specification: JsonObject) -> tuple[Searched, ...]:
    """What the factors of an ablation change, tried around the middle of the space."""
    space = _space(specification)
    return () if space is None else _merged(_of_factors(space, specification))


def _space(specification: JsonObject) -> SearchSpace | None:
    """The search space; None where no version writes such a one: whoever reads the study says so."""
    try:
        return stored_space(specification)
    except (ValueError, TypeError, KeyError):
        return None


def _merged(settings: Iterable[Searched]) -> tuple[Searched, ...]:
    merged: dict[str, Searched] = {}
    for setting in settings:
        other = merged.get(setting.path, setting)
        both = other.numeric and setting.numeric
        merged[setting.path] = replace(setting, numeric=both, always=other.always or setting.always)
    return tuple(merged.values())


def _places(tree: Tree, path: str, name: str, picked: Mapping[str, Value], in_list: bool = False) -> Iterator[_Place]:
    match tree:
        case Choice():
            yield _Place(tree, path, name, picked, in_list)
            for label, option in zip(tree.labels, tree.options, strict=True):
                yield from _places(option, path, f"{name}.{label}", {**picked, name: label}, in_list)
        case Float() | Int():
            yield _Place(tree, path, name, picked, in_list)
        case dict():
            for key, child in tree.items():
                yield from _places(child, _below(path, key), _below(name, key), picked, in_list)
        case list():
            for index, child in enumerate(tree):
                yield from _places(child, path, _below(name, str(index)), picked, True)


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _of_place(space: SearchSpace, place: _Place, places: Sequence[_Place]) -> list[Searched]:
    always = not place.picked
    if place.in_list:
        return [Searched(place.path, always=always)]
    if not isinstance(place.tree, Choice):
        return [Searched(place.path, numeric=True, always=always)]
    labels = list(zip(place.tree.labels, place.tree.options, strict=True))[:MOST_TRIED]
    tried = [_tried(space, {**place.picked, place.name: label}) for label, _ in labels]
    nested = {other.path for other in places if place.name in other.picked}
    written = [name for _, option in labels for name in _written(option, place.path)]
    paths = _telling(place.path, [config for config in tried if config is not None], nested, written)
    values = [config[path] for path in paths for config in tried if config and path in config]
    numeric = len(paths) == 1 and all(_is_number(value) for value in values)
    whole = [path for path in paths if all(config is None or path in config for config in tried)]
    return [Searched(path, numeric, always and path in whole) for path in paths or _guessed(place, nested)]


def _guessed(place: _Place, nested: set[str]) -> tuple[str, ...]:
    """Where no option could be tried: a section goes by its name."""
    options = place.tree.options if isinstance(place.tree, Choice) else ()
    named = any(isinstance(option, dict) and "name" in option for option in options)
    return () if nested and not named else (f"{place.path}.name" if named else place.path,)


def _tried(space: SearchSpace, picked: Mapping[str, Value]) -> Flat | None:
    """The trial with these picks and all else in the middle, flat; None where it is none."""
    center = space.center()
    try:
        config = space.trial(lambda name, domain: picked.get(name, center(name, domain)), seed=0)
    except (ValueError, OSError):  # a value of the environment that stands by its name; files that are elsewhere
        return None
    return flatten(config.model_dump(mode="json"))


def _telling(path: str, tried: Sequence[Flat], nested: set[str], written: Sequence[str]) -> list[str]:
    """The parameters at or below a path that tell the options apart: its name if it has one, else what differs."""
    below = [{n: v for n, v in flat.items() if n == path or n.startswith(f"{path}.")} for flat in tried]
    names = dict.fromkeys(name for flat in below for name in flat if not name.endswith(HIDDEN))
    differing = [name for name in names if _distinct(flat.get(name, _ABSENT) for flat in below) > 1]
    own_name = f"{path}.name"
    if own_name in differing and _distinct(flat.get(own_name) for flat in below) == _distinct(below):
        return [own_name]
    rest = [name for name in differing if name not in nested and name != path]
    rest.sort(key=lambda name: (name != own_name, name not in written))
    most = MOST_OF_SECTION if any(name in written for name in rest) else 1
    return rest[:most] or [name for name in differing if name == path and not nested]


def _distinct(values: Iterable[object]) -> int:
    return len(set(map(repr, values)))  # true is not 1


def _written(option: Tree, path: str) -> Iterator[str]:
    if isinstance(option, dict):
        for key, child in option.items():
            yield from _written(child, f"{path}.{key}")
    else:
        yield path


def _is_number(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _of_factors(space: SearchSpace, specification: JsonObject) -> Iterator[Searched]:
    try:
        factors = AblationSection.model_validate(specification.get("ablation")).read_factors()
        tree = space.at_center()
    except (ValueError, TypeError):
        return
    for path, levels in factors.items():
        tried = [flat for level in islice(levels, MOST_TRIED) if (flat := _at_level(tree, path, level)) is not None]
        written = [name for level in levels for name in flatten({path: level})]
        paths = _telling(path, [*filter(None, [_at_level(tree, None, None)]), *tried], set(), written)
        values = [flat.get(name) for name in paths for flat in tried]
        numeric = len(paths) == 1 and all(_is_number(value) for value in values)
        yield from (Searched(name, numeric, always=False) for name in paths or [path])


def _at_level(tree: JsonObject, path: str | None, level: JsonValue) -> Flat | None:
    try:
        return flatten(trial_of(tree, {} if path is None else {path: level}).model_dump(mode="json"))
    except (ValueError, OSError):
        return None
