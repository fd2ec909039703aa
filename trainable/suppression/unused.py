"""Settings of ``suppression`` that have no effect beside others: told where they are written. Imports no torch."""

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from trainable.configfile.mistakes import Mistake
from trainable.configfile.node import JsonObject, Node, entries_of, plain

UNUSED = ("alpha", "loss_ramp", "gate_norm", "importance", "gradient_every", "norm_momentum", "recalibrate")
"""Of the second path and of the block: erasing has neither."""


def unused_settings(suppression: Node) -> Iterator[Mistake]:
    """A mistake for each setting without effect that a ``suppression`` section writes.

    Nothing is told where layer, mechanism or sampling is a domain: other trials of the study may use the setting.
    """
    section = plain(suppression)
    unused = _without_effect(section) if isinstance(section, dict) else {}
    for key, node in entries_of(suppression).items() if unused else ():
        if key in unused:
            yield Mistake(node.place, f"suppression.{key}", f"has no effect: {unused[key]}; leave it out")


def without_unused(trial: Mapping[str, JsonValue]) -> JsonObject:
    """A trial's tree, as one is kept, without the settings that `unused_settings` would tell."""
    section = trial.get("suppression")
    if not isinstance(section, dict):
        return dict(trial)
    unused = _without_effect(section)
    return {**trial, "suppression": {key: value for key, value in section.items() if key not in unused}}


def _without_effect(section: Mapping[str, JsonValue]) -> dict[str, str]:
    """The settings that mean nothing beside what the section says, and why."""
    unused: dict[str, str] = {}
    if _only_erases(section):
        unused |= dict.fromkeys(UNUSED, "a trial that only erases has one path and no block")
    if _name(section, "sampling") == "listed":
        unused["num_classes"] = "listed draws all of its classes"
    return unused


def _only_erases(section: Mapping[str, JsonValue]) -> bool:
    name = _name(section, "mechanism") or "auto"
    return name == "erase" or (name == "auto" and section.get("layer") in ("input", ["input"]))


def _name(section: Mapping[str, JsonValue], key: str) -> JsonValue:
    value = section.get(key)
    return value.get("name") if isinstance(value, dict) else value
