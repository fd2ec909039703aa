"""Trials as trees of plain values: values at dotted paths replaced, and what makes two trials equal."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.studyfile.sections.comparison import AblationSection, Values
from trainable.config import TrialConfig


def trial_of(tree: Mapping[str, Any], values: Values | None = None) -> TrialConfig:
    """The trial of a tree, values at dotted paths replaced.

    Raises:
        ValueError: it is none; pydantic's error where a section refuses a value.
    """
    return TrialConfig.model_validate_json(json.dumps({**with_values(tree, values or {}), "seed": 0}))


def base_tree(section: AblationSection, raw: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """The tree that the arms change: the baseline, its preset applied before their values unless they name presets.

    Args:
        section: The ablation.
        raw: A trial's tree without domains.
        values: Replaced by the baseline.

    Raises:
        ValueError: the baseline is no trial.
    """
    tree = with_values(raw, values)
    config = trial_of(tree)
    if "preset" in section.read_factors() or any("preset" in arm for arm in section.read_arms().values()):
        return tree
    return config.model_dump(mode="json", exclude={"preset", "seed"})


def content(config: TrialConfig) -> str:
    """Equal for trials that train alike, seed aside: presets are applied, data may lie elsewhere."""
    tree = config.model_dump(mode="json", exclude={"preset", "seed"})
    tree["data"].pop("root", None)
    return json.dumps(tree, sort_keys=True)


def order_levels(base: Mapping[str, Any], path: str, levels: Sequence[Any]) -> tuple[tuple[Any, ...], bool]:
    """The levels of a factor, the baseline's first, and whether it was among them.

    Raises:
        ValueError: a level is refused.
    """
    mine = content(trial_of(base))
    same = [level for level in levels if content(trial_of(base, {path: level})) == mine]
    if same:
        return (same[0], *(level for level in levels if level is not same[0])), True
    return (value_at(trial_of(base).model_dump(mode="json"), path), *levels), False


def value_at(tree: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; None where there is none."""
    value: Any = tree
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def same_level(one: Any, other: Any) -> bool:
    """Whether two levels are equal; true is not 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def with_values(tree: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """A trial's tree with values at dotted paths replaced; mappings on the way are made where there are none.

    Raises:
        ValueError: a path leads through a value that is no mapping.
    """
    changed = dict(tree)
    for path, value in values.items():
        changed = _put(changed, path.split("."), value, path)
    return changed


def _put(tree: Mapping[str, Any], keys: list[str], value: Any, path: str) -> dict[str, Any]:
    if len(keys) == 1:
        return {**tree, keys[0]: value}
    below = tree.get(keys[0])
    if below is not None and not isinstance(below, Mapping):
        raise ValueError(f"{path}: {keys[0]} is {below!r}, which has no key {keys[1]}")
    return {**tree, keys[0]: _put(below or {}, keys[1:], value, path)}
