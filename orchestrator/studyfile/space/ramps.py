"""Whether trials of a study ramp their suppression up differently: then early epochs do not compare."""

import json
from collections.abc import Iterator, Mapping

from orchestrator.studyfile.space.domain import Choice, Float, Int, Tree
from trainable.presets import PRESETS

RAMPS = ("schedule", "loss_ramp")
"""Settings of ``suppression`` that decide how much of it a trial has seen by an epoch."""


def searched_ramps(tree: Mapping[str, Tree]) -> list[str]:
    """The ramps, by their paths, that trials of a space may have in different forms.

    Whichever path weighs little in the loss has hardly been trained by then, and it may be the one that is evaluated.
    """
    forms: dict[str, set[str]] = {ramp: set() for ramp in RAMPS}
    for name in _options(tree.get("preset")):
        settings = next((settings for preset, settings in PRESETS.items() if preset == name), {})
        written = settings["suppression"] if "suppression" in settings else tree.get("suppression")
        for section in (section for section in _options(written) if isinstance(section, dict)):
            for ramp in RAMPS:
                forms[ramp].update(_forms(settings.get(f"suppression.{ramp}", section.get(ramp, "linear"))))
    return [f"suppression.{ramp}" for ramp, different in forms.items() if len(different) > 1]


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
        if isinstance(section, dict) and any(isinstance(value, Choice | Float | Int) for value in section.values()):
            yield from (json.dumps([str(section), end]) for end in ("low", "high"))
        else:
            yield json.dumps(section, sort_keys=True)
