"""What the arms of a comparison consist of: a column per factor, check marks where a factor is on or off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.report.pages.numbers import NOTHING, setting
from orchestrator.report.sections.comparison_results import StageResults
from orchestrator.store.stage_plan import Arm
from trainable.presets import COMPONENTS

MARK = "✓"
MOST_COLUMNS = 8
"""More factors than these have a table of their own."""
_OFF = (False, None, 0, "none")


@dataclass(frozen=True)
class Columns:
    """Columns of factors, to stand in front of the results."""

    heads: tuple[str, ...]
    cells: Mapping[str, tuple[str, ...]]
    """Texts by arm."""


def component_columns(stage: StageResults) -> Columns:
    """The factors in which the arms differ; known presets are resolved into what they consist of."""
    columns: dict[str, list[str]] = {}
    for factor, levels in _factors(stage).items():
        values = [arm.levels.get(factor) for arm in stage.arms]
        if factor == "preset" and all(value in COMPONENTS for value in values):
            columns |= _preset_columns(values)
        else:
            head, texts = _column(factor, levels, stage.arms)
            columns[head] = texts
    varying = {head: texts for head, texts in columns.items() if len(set(texts)) > 1}
    cells = {arm.name: tuple(texts[i] for texts in varying.values()) for i, arm in enumerate(stage.arms)}
    return Columns(tuple(varying), cells)


def _factors(stage: StageResults) -> Mapping[str, Sequence[object]]:
    """Levels of each factor; where the plan names none, those that occur."""
    if stage.plan.factors:
        return stage.plan.factors
    names = dict.fromkeys(name for arm in stage.arms for name in arm.levels)
    return {name: _distinct([arm.levels[name] for arm in stage.arms if name in arm.levels]) for name in names}


def _distinct(values: Sequence[object]) -> list[object]:
    return [value for at, value in enumerate(values) if not any(_same(value, before) for before in values[:at])]


def _same(one: object, other: object) -> bool:
    """Equal, and alike in kind: 0 is not false here."""
    return type(one) is type(other) and bool(one == other)


def _preset_columns(presets: Sequence[object]) -> dict[str, list[str]]:
    components = {str(preset): parts for preset, parts in COMPONENTS.items()}
    every_part = dict.fromkeys(part for parts in components.values() for part in parts)
    return {part: [MARK if part in components[str(preset)] else "" for preset in presets] for part in every_part}


def _column(factor: str, levels: Sequence[object], arms: Sequence[Arm]) -> tuple[str, list[str]]:
    """Head and texts of a factor: check marks where one of two levels is to leave it out."""
    off = [level for level in levels if any(_same(level, one) for one in (*_OFF, 0.0))]
    on = [level for level in levels if level not in off]
    if len(levels) != 2 or len(off) != 1 or len(on) != 1:
        return factor, [setting(arm.levels[factor]) if factor in arm.levels else NOTHING for arm in arms]
    head = factor if on[0] is True else f"{factor} = {setting(on[0])}"
    return head, [MARK if factor in arm.levels and _same(arm.levels[factor], on[0]) else "" for arm in arms]
