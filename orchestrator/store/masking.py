"""The one door to tables, pages and MLflow: values of environment variables are shown as the study file names them."""

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.store.flat_config import flatten
from orchestrator.store.trial_record import Record
from trainable.configfile.node import JsonObject

SHORTEST_SECRET = 4
"""Characters: shorter values of the environment are no secret, and are found in words that mean something else."""


def shown(record: Record, from_env: Mapping[str, str]) -> Record:
    """A trial as it may be shown: its settings as written, its reason and its picks without their values.

    Args:
        record: The trial. Hashes and fingerprints are those of the trial itself, never of what is shown.
        from_env: Dotted paths of settings whose values came from ``${NAME}``, with the text as written.
    """
    if not from_env:
        return record
    config = record.planned.config
    picks = record.planned.picks and {
        name: shown_text(value, config, from_env) if isinstance(value, str) else value
        for name, value in record.planned.picks.items()
    }
    planned = replace(record.planned, config=shown_config(config, from_env), picks=picks)
    return replace(record, planned=planned, reason=record.reason and shown_text(record.reason, config, from_env))


def shown_config(tree: JsonObject, from_env: Mapping[str, str], prefix: str = "") -> JsonObject:
    """A copy of a configuration with each setting that came from the environment as the study file writes it."""
    return {
        name: shown_config(value, from_env, f"{prefix}{name}.")
        if isinstance(value, dict)
        else from_env.get(f"{prefix}{name}", value)
        for name, value in tree.items()
    }


def shown_text(text: str, config: JsonObject, from_env: Mapping[str, str]) -> str:
    """A reason, a log or a file with each value that came from the environment as the study file writes it.

    Args:
        text: It may hold values.
        config: Configuration of the trial that it is about, with its values.
        from_env: As for ``shown``.
    """
    values = flatten(config)
    for setting, written in from_env.items():
        value = values.get(setting)
        if isinstance(value, str) and len(value) >= SHORTEST_SECRET:
            text = text.replace(value, written)
    return text
