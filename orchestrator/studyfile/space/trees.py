"""Trials as trees of plain values: values at dotted paths replaced, and what makes two trials equal."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce

from pydantic import JsonValue

from orchestrator.studyfile.sections.comparison import AblationSection, Baseline, Levels, Values, Written
from orchestrator.studyfile.space.domain import Choice, Float, Tree
from trainable.config import TrialConfig, read_trial
from trainable.configfile.node import JsonObject
from trainable.configfile.trees import set_at
from trainable.data.config import TRAINING_ONLY
from trainable.section import all_settings
from trainable.suppression.unused import without_unused

TRIAL_KEYS = tuple(key for key in TrialConfig.model_fields if key != "seed")
"""The sections of a trial that a study file writes; its seed derives from the study's."""


def trial_of(tree: Mapping[str, JsonValue], values: Values | None = None) -> TrialConfig:
    """The trial of a tree, values at dotted paths replaced.

    Raises:
        ValueError: it is none; pydantic's error where a section refuses a value.
    """
    return read_trial({**with_values(tree, values or {}), "seed": 0})


def base_tree(section: AblationSection, raw: Mapping[str, JsonValue], baseline: Baseline) -> JsonObject:
    """The tree that the arms change: the baseline, its preset applied before their values unless they name presets.

    A written baseline replaces values of ``raw``, a trial's tree without domains.

    Raises:
        ValueError: the baseline is no trial.
    """
    tree = with_values(raw, baseline.values if isinstance(baseline, Written) else {})
    config = trial_of(tree)
    if "preset" in section.read_factors() or any("preset" in arm for arm in section.read_arms().values()):
        return tree
    dumped = config.model_dump(mode="json", exclude={"preset", "seed"})
    if value_at(dumped, "suppression.mechanism") == {"name": "gate"}:  # as auto is kept: an arm may move to the input
        return set_at(dumped, "suppression.mechanism", {"name": "auto"})
    return dumped


def content(config: TrialConfig) -> str:
    """Equal for trials of equal settings, seed aside: presets are applied, files may lie elsewhere."""
    return json.dumps(without_places(config.model_dump(mode="json", exclude={"preset", "seed"})), sort_keys=True)


def acting(config: TrialConfig) -> str:
    """Equal for trials that train alike: without settings that have no effect beside others, and with auto in words."""
    suppression = config.suppression
    if suppression is not None and suppression.erase is not None and not suppression.blocks:
        erasing = suppression.model_copy(update={"layer": suppression.layers, "mechanism": suppression.erase})
        config = config.model_copy(update={"suppression": erasing})
    tree = without_unused(config.model_dump(mode="json", exclude={"preset", "seed"}))
    return json.dumps(without_places(tree), sort_keys=True)


def without_places(tree: JsonObject) -> JsonObject:
    """A trial's tree without where its data and weights lie: weights are known by their content."""
    placed = (("data", "root"), ("model", "encoder_weights", "path"), ("model", "weights", "path"))
    return reduce(_without, placed, tree)


def _without(tree: JsonObject, path: tuple[str, ...]) -> JsonObject:
    child = tree.get(path[0])
    rest = {key: value for key, value in tree.items() if key != path[0]}
    if len(path) == 1:
        return rest
    return {**rest, path[0]: _without(child, path[1:])} if isinstance(child, dict) else tree


def order_levels(base: Mapping[str, JsonValue], path: str, levels: Levels) -> tuple[Levels, bool]:
    """The levels of a factor, the baseline's first, and whether it was among them.

    Raises:
        ValueError: a level is refused.
    """
    baseline = content(trial_of(base))
    same = [level for level in levels if content(trial_of(base, {path: level})) == baseline]
    if same:
        return (same[0], *(level for level in levels if level is not same[0])), True
    settings = all_settings(trial_of(base))
    assert isinstance(settings, dict)
    return (value_at(settings, path), *levels), False


def value_at(tree: Mapping[str, JsonValue], path: str) -> JsonValue:
    """The value at a dotted path; None where there is none."""
    value: JsonValue = dict(tree)
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def same_level(one: object, other: object) -> bool:
    """Whether two levels are equal; true is not 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def with_values(tree: Mapping[str, JsonValue], values: Values) -> JsonObject:
    """A trial's tree with values at dotted paths replaced; raises `RuleError` as `set_at`."""
    return reduce(lambda changed, item: set_at(changed, *item), values.items(), dict(tree))


def frames_only(tree: Tree) -> Tree:
    """The tree without what does not decide frames of files: training's part, and (of shapes alone) real numbers."""
    match tree:
        case Choice():
            return replace(tree, options=tuple(frames_only(option) for option in tree.options))
        case Float():
            return tree.center()
        case dict():
            return {key: frames_only(child) for key, child in tree.items() if key not in TRAINING_ONLY}
        case list():
            return [frames_only(child) for child in tree]
        case _:
            return tree
