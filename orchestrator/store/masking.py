"""The one door to tables, pages and MLflow: values of environment variables are shown as the study file names them."""

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.store.flat_config import flatten
from orchestrator.store.trial_record import Record
from trainable.configfile.environment import SHORTEST_SECRET
from trainable.configfile.node import JsonObject


def shown(record: Record, from_env: Mapping[str, str]) -> Record:
    """A trial as it may be shown: its settings as written, its reason and its picks without their values.

    Args:
        record: The trial. Hashes and fingerprints are those of the trial itself, never of what is shown.
        from_env: Dotted paths of settings whose values came from ``${NAME}``, with the text as written.
    """
    if not from_env:
        return record
    config, picks = record.planned.config, record.planned.picks
    if picks:  # names may hold labels of options
        texts = {name: shown_text(pick, config, from_env) for name, pick in picks.items() if isinstance(pick, str)}
        picks = {shown_text(n, config, from_env): from_env.get(n, texts.get(n, pick)) for n, pick in picks.items()}
    planned = replace(record.planned, config=shown_config(config, from_env), picks=picks)
    return replace(record, planned=planned, reason=record.reason and shown_text(record.reason, config, from_env))


def shown_config(tree: JsonObject, from_env: Mapping[str, str], prefix: str = "") -> JsonObject:
    """A copy of a configuration, or of a study, with the settings that came from the environment as written."""
    return {
        name: shown_config(value, from_env, f"{prefix}{name}.")
        if isinstance(value, dict)
        else from_env.get(f"{prefix}{name}", value)
        for name, value in tree.items()
    }


def shown_text(text: str, config: JsonObject, from_env: Mapping[str, str]) -> str:
    """A reason, a log or a file about a trial of this configuration, each value replaced by what the file says."""
    settings = flatten(config)
    secrets = [(value, written) for name, written in from_env.items() if isinstance(value := settings.get(name), str)]
    for value, written in sorted(secrets, key=lambda secret: -len(secret[0])):  # one may hold another
        if len(value) >= SHORTEST_SECRET:
            text = text.replace(value, written)
    return text
