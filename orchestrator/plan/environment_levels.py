"""Levels and arms of an ablation as its file writes them: values of ``${NAME}`` name no arm. Pure."""

import json
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from orchestrator.studyfile.sections.comparison import Values
from orchestrator.studyfile.space.trees import same_level
from trainable.configfile.trees import escaped

Levels = Mapping[str, Sequence[JsonValue]]


def levels_as_written(listed: Levels, ordered: Levels, from_env: Mapping[str, str]) -> dict[str, tuple[JsonValue, ...]]:
    """Levels as written, of the factors of which some name environment variables.

    Args:
        listed: Levels of each factor by its dotted path, in the order of the file.
        ordered: The same as they are compared: the baseline's first, which the file need not list.
        from_env: Settings that name environment variables, as written, by dotted path.
    """
    shown = {}
    for path, levels in ordered.items():
        text = from_env.get(f"ablation.factors.{path}")
        texts: list[JsonValue] = json.loads(text) if text else [escaped({path: level})[path] for level in listed[path]]
        pairs = list(zip(listed[path], texts, strict=True))
        base = from_env.get(f"ablation.baseline.{path}", from_env.get(path))
        shown[path] = tuple(_as_written(level, pairs, base) for level in levels)
    return {path: levels for path, levels in shown.items() if list(levels) != list(ordered[path])}


def arms_as_written(arms: Mapping[str, Values], from_env: Mapping[str, str]) -> dict[str, Values]:
    """The arms, those of a list of presets named as written."""
    text = from_env.get("ablation.arms")
    return dict(zip(json.loads(text) if text else arms, arms.values(), strict=True))


def _as_written(level: JsonValue, pairs: Sequence[tuple[JsonValue, JsonValue]], base: str | None) -> JsonValue:
    for value, text in pairs:
        if same_level(value, level):
            return level if escaped({"": value})[""] == text else text
    return level if base is None else base
