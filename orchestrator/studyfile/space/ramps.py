"""Whether trials of a study ramp their suppression up differently, or begin it late: early epochs do not compare."""

import json
from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from orchestrator.studyfile.space.domain import Choice, Float, Int, Tree
from trainable.presets import PRESETS
from trainable.suppression.config import SuppressionConfig

RAMPS: Mapping[str, object] = {"schedule": "linear", "loss_ramp": "linear", "start": 0}
"""Settings of ``suppression`` that decide how much of it a trial has seen by an epoch, and their defaults."""


def searched_ramps(tree: Mapping[str, Tree]) -> list[str]:
    """The ramps, by their paths, that trials of a space may have in different forms.

    Whichever path weighs little in the loss has hardly been trained by then, and it may be the one that is evaluated.
    """
    forms: dict[str, set[str]] = {ramp: set() for ramp in RAMPS}
    for section, settings in _suppressions(tree):
        for ramp, default in RAMPS.items():
            forms[ramp].update(_forms(settings.get(f"suppression.{ramp}", section.get(ramp, default))))
    return [f"suppression.{ramp}" for ramp, different in forms.items() if len(different) > 1]


def longest_plain_beginning(tree: Mapping[str, Tree], epochs: int) -> int:
    """The most epochs that a trial of a space trains before its suppression starts, where one has so many epochs."""
    starts = [_highest(section.get("start", 0)) for section, _ in _suppressions(tree)]
    valid = [start for start in starts if 0 <= start < 1]
    return max((SuppressionConfig(start=start).plain_epochs(epochs) for start in valid), default=0)


def written_starts(tree: Mapping[str, Tree]) -> set[float] | None:
    """Every ``suppression.start`` that a trial of a space may have; None where they cannot be listed."""
    starts = [option for section, _ in _suppressions(tree) for option in _options(section.get("start", 0))]
    numbers = {float(start) for start in starts if isinstance(start, int | float)}
    return numbers if all(isinstance(start, int | float) for start in starts) else None


def _highest(tree: object) -> float:
    if isinstance(tree, Choice):
        return max(map(_highest, tree.options))
    value = tree.high if isinstance(tree, Float | Int) else tree
    return float(value) if isinstance(value, int | float) else 0.0


def _suppressions(tree: Mapping[str, Tree]) -> Iterator[tuple[Mapping[str, object], Mapping[str, JsonValue]]]:
    """The suppression sections of a space, each with what a preset sets besides."""
    for name in _options(tree.get("preset")):
        settings = next((settings for preset, settings in PRESETS.items() if preset == name), {})
        written = settings["suppression"] if "suppression" in settings else tree.get("suppression")
        for section in _options(written):
            if isinstance(section, dict):
                yield section, settings


def _options(tree: object) -> Iterator[object]:
    if isinstance(tree, Choice):
        for option in tree.options:
            yield from _options(option)
    else:
        yield tree


def _forms(tree: object) -> Iterator[str]:
    """A text for each form; a number that is searched makes two."""
    for option in _options(tree):
        section = {"name": option} if isinstance(option, str) else option
        values = section.values() if isinstance(section, dict) else (section,)
        if any(isinstance(value, Choice | Float | Int) for value in values):
            yield from (json.dumps([str(section), end]) for end in ("low", "high"))
        else:
            yield json.dumps(section, sort_keys=True)
