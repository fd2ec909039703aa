"""Checks the part of a study file that describes trials: every bound and option must make a valid trial."""

import json
from collections.abc import Iterator, Sequence
from typing import get_args

from pydantic import TypeAdapter, ValidationError

from orchestrator.studyfile.space.variants import pair_variants, variants
from trainable.config import TrialConfig
from trainable.configfile.messages import split_path, validate
from trainable.configfile.mistakes import Mistake, show_path, unknown
from trainable.configfile.node import Node, child_of, has_broken, nearest, plain
from trainable.data.config import DataConfig
from trainable.data.layout import DataError, check_data
from trainable.evaluate.metrics.names import objective_names
from trainable.model.encoders import ENCODERS, TIMM_PREFIX

_DATA: TypeAdapter[DataConfig] = TypeAdapter(DataConfig)
_DATA_SECTIONS = {
    get_args(section.model_fields["name"].annotation)[0]: section for section in get_args(get_args(DataConfig)[0])
}
"""The section of each data set by its name."""


def check_trials(trial: Node, mistakes: list[Mistake]) -> TrialConfig | None:
    """The first of the trials that try every bound and option; None where it is invalid."""
    first: TrialConfig | None = None
    for index, variant in enumerate(_variants(trial)):
        config = validate(TrialConfig, variant, (), mistakes)
        first = config if index == 0 else first
        mistakes.extend(_encoder_mistakes(variant))
    return first


def check_data_sets(trial: Node, mistakes: list[Mistake]) -> None:
    """Check that each possible data set lies where it should."""
    for data, variant in _data_sets(trial):
        try:
            check_data(data)
        except DataError as error:
            keys, message = split_path(str(error))
            mistakes.append(Mistake(nearest(variant, keys or ["data"]).place, show_path(keys or ["data"]), message))


def check_metrics(trial: Node, metrics: Sequence[tuple[str, Node]], mistakes: list[Mistake]) -> None:
    """Check that each possible data set yields the objectives' metrics; its name and root are enough to know them.

    Args:
        trial: The part of the study file that describes trials.
        metrics: Path and value of each objective's metric.
        mistakes: What is wrong is added here.
    """
    data = child_of(trial, "data")
    found = [
        [nearest(variant, [key]).value for key in ("name", "root")] for variant in (variants(data) if data else ())
    ]
    for name, root in dict.fromkeys((str(name), str(root)) for name, root in found):
        try:
            known = objective_names(_DATA_SECTIONS[name].model_construct(name=name, root=root))
        except (KeyError, DataError):  # an unknown name, a folder without classes: told by other checks
            continue
        wrong = [(path, node) for path, node in metrics if node.value not in known]
        mistakes.extend(Mistake(node.place, path, unknown(str(node.value), known, "metric")) for path, node in wrong)


def _variants(trial: Node) -> Iterator[Node]:
    """Every variant of the data with every variant of the rest, which rules over both of them need.

    The rest is tried as it is written, two values at a time, and then under each preset: a preset replaces values, and
    must not hide what is wrong with them.
    """
    data = _part(trial, ("data",))
    presets = [{}, *(entries for entries in map(_mapping, variants(_part(trial, ("preset",)))) if entries)]
    rest = _part(trial, [key for key in _mapping(trial) if key not in ("data", "preset")])
    others = [*variants(rest), *pair_variants(rest)]
    for preset in presets:
        for first in variants(data):
            for other in others:
                yield Node({**preset, **_mapping(first), **_mapping(other)}, trial.place)


def _part(trial: Node, keys: Sequence[str]) -> Node:
    return Node({key: child for key, child in _mapping(trial).items() if key in keys}, trial.place)


def _mapping(node: Node) -> dict[str, Node]:
    assert isinstance(node.value, dict)
    return node.value


def _data_sets(trial: Node) -> Iterator[tuple[DataConfig, Node]]:
    """The distinct valid data sections, each with its tree."""
    data = child_of(trial, "data")
    seen: list[DataConfig] = []
    for variant in variants(data) if data else ():
        try:
            config = _DATA.validate_json(json.dumps(plain(variant)))
        except ValidationError:
            continue  # reported with the trials
        if config not in seen and not has_broken(variant):
            seen.append(config)
            yield config, Node({"data": variant}, trial.place)


def _encoder_mistakes(trial: Node) -> Iterator[Mistake]:
    encoder = nearest(trial, ("model", "encoder"))
    if isinstance(encoder.value, str) and encoder.value and not encoder.broken:
        problem = encoder_problem(encoder.value)
        if problem:
            yield Mistake(encoder.place, "model.encoder", problem)


def encoder_problem(name: str) -> str | None:
    """What is wrong with an encoder's name; names of timm models (``tu-...``) are not looked up."""
    if name.startswith(TIMM_PREFIX) or name in ENCODERS:
        return None
    return f"{unknown(name, ENCODERS, 'encoder')}; {TIMM_PREFIX}NAME takes any timm model"
