"""Configurations in short: nested ones as flat dotted names, values in a few digits."""

import json
from collections.abc import Iterator, Mapping

from trainable.configfile.node import Scalar


def flatten(tree: Mapping[str, object], prefix: str = "") -> dict[str, Scalar]:
    """``{"train": {"lr": 0.1}}`` as ``{"train.lr": 0.1}``; a list becomes its JSON text."""
    return dict(_leaves(tree, prefix))


def _leaves(tree: Mapping[str, object], prefix: str) -> Iterator[tuple[str, Scalar]]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value if isinstance(value, str | int | float | None) else json.dumps(value)


def short(value: object) -> str:
    """A picked value in four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
