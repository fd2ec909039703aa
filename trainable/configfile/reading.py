"""Reads a configuration file: YAML, then ``--set`` options, then ``${NAME}``. Its readers judge what it holds."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel

from trainable.configfile.document import as_yaml, read_yaml
from trainable.configfile.environment import expand
from trainable.configfile.mistakes import ConfigError, Mistake, close_names
from trainable.configfile.node import Node, Place, with_children
from trainable.configfile.overrides import override
from trainable.configfile.texts import as_texts

LARGEST = 250_000
"""Bytes of a file: whoever takes another file for this one should not wait for a minute."""

SUFFIXES = (".yaml", ".yml", ".json")
"""Of configuration files."""
MOST_BESIDE = 1000
"""Files of a folder among which a mistyped name is looked for."""


def read_mapping(
    path: str | Path,
    what: str,
    types: Mapping[str, object],
    mistakes: list[Mistake],
    overrides: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    in_full: Callable[[Node], Node] = lambda root: root,
) -> Node:
    """The tree of a YAML or JSON file whose top is a mapping; adds what is wrong inside it to ``mistakes``.

    Args:
        path: The file.
        what: What such a file is, for the message about one that holds no mapping.
        types: The keys of the mapping, for the same message, and the type of what may stand at each.
        mistakes: Filled.
        overrides: ``PATH=VALUE`` options, applied in order.
        env: Environment variables; those of the process by default.
        in_full: Writes shorthands of the file in full, so that an option can reach into them.

    Raises:
        ConfigError: the file cannot be read, is no YAML or no mapping.
    """
    root = read_yaml(_read_text(path), lambda line: Place(str(path), line), mistakes)
    if root is None or root.broken:
        raise ConfigError(mistakes)
    if not isinstance(root.value, dict):
        content = "the file is empty" if root.value is None else f"got {root}"
        message = f"{content}; {what} is a mapping with the keys {', '.join(types)}"
        raise ConfigError([*mistakes, Mistake(root.place, "", message)])
    for option in overrides:
        root = override(in_full(root), option, mistakes)
    expanded = expand(in_full(root), os.environ if env is None else env, mistakes)
    return with_children(expanded, lambda key, child: as_texts(child, types.get(str(key))))


def types_of(model: type[BaseModel]) -> dict[str, object]:
    """The types of a section's values, by key."""
    return {name: field.annotation for name, field in model.model_fields.items()}


def _read_text(path: str | Path) -> str:
    try:
        if (size := Path(path).stat().st_size) > LARGEST:
            raise ConfigError([Mistake(Place(str(path)), "", f"{size} bytes; a file has at most {LARGEST}")])
        text = Path(path).read_text(encoding="utf-8-sig")
        return as_yaml(text) if Path(path).suffix.lower() == ".json" else text
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 text: {error.reason}, byte {error.start}"
    except FileNotFoundError as error:
        problem = f"{(error.strerror or str(error)).lower()}{_beside(Path(path))}"
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
    raise ConfigError([Mistake(Place(str(path)), "", problem)])


def _beside(path: Path) -> str:
    """Which file of the folder may have been meant."""
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix in SUFFIXES][:MOST_BESIDE]
    except OSError:
        return ""
    close = close_names(path.name, names)
    return f" (did you mean '{path.with_name(close[0])}'?)" if close else ""
