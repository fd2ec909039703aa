"""Values of environment variables are shown by the names that the study file gives them, in running text too."""

from collections.abc import Mapping
from typing import Any

from orchestrator.store.flat_config import flatten

SHORTEST_SECRET = 4
"""Characters: shorter values of the environment are no secret, and are found in words that mean something else."""


def hide(text: str, config: Mapping[str, Any], from_env: Mapping[str, str]) -> str:
    """The text with each value that came from the environment replaced by what the study file says.

    Args:
        text: A reason, a log, a file.
        config: Configuration of the trial that it is about.
        from_env: Dotted paths of settings whose values came from ``${NAME}``, with the text as written.
    """
    values = flatten(config)
    for setting, written in from_env.items():
        value = values.get(setting)
        if isinstance(value, str) and len(value) >= SHORTEST_SECRET:
            text = text.replace(value, written)
    return text
