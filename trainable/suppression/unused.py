"""Settings that have no effect where a trial only erases: told where they are written. Imports no torch."""

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from trainable.configfile.mistakes import Mistake
from trainable.configfile.node import JsonObject, Node, entries_of, plain

UNUSED = ("alpha", "loss_ramp", "gate_norm", "importance", "gradient_every", "norm_momentum", "recalibrate")
"""Of the second path and of the block: erasing has neither."""


def unused_settings(suppression: Node) -> Iterator[Mistake]:
    """A mistake for each setting without effect that a ``suppression`` section writes.

    Nothing is told where layer or mechanism is a domain: other trials of the study may use the setting.
    """
    section = plain(suppression)
    if isinstance(section, dict) and _only_erases(section):
        for key, node in entries_of(suppression).items():
            if key in UNUSED:
                message = "has no effect: a trial that only erases has one path and no block; leave it out"
                yield Mistake(node.place, f"suppression.{key}", message)


def without_unused(trial: Mapping[str, JsonValue]) -> JsonObject:
    """A trial's tree, as one is kept, without the settings that `unused_settings` would tell."""
    section = trial.get("suppression")
    if not isinstance(section, dict) or not _only_erases(section):
        return dict(trial)
    return {**trial, "suppression": {key: value for key, value in section.items() if key not in UNUSED}}


def _only_erases(section: Mapping[str, JsonValue]) -> bool:
    mechanism = section.get("mechanism", "auto")
    name = mechanism.get("name") if isinstance(mechanism, dict) else mechanism
    return name == "erase" or (name == "auto" and section.get("layer") in ("input", ["input"]))
