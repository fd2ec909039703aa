"""What was picked for a trial, as short as a line holds it: ``frequency, encoder.2, p_max 0.12``."""

import json
import re
from collections import Counter
from collections.abc import Mapping

from trainable.configfile.node import Scalar

FIRST = ("suppression.sampling", "suppression.layer", "suppression.p_max")
"""What stands in front: a reader asks for these first, and lines are cut."""
SPEAKING = frozenset({"sampling", "layer", "mechanism", "arch", "encoder", "optimizer", "preset"})
"""Settings whose words say what they are without their name; ``mean`` or ``linear`` do not."""
DIGITS = 3
"""Significant digits of a number."""
_CLASS = re.compile(r"[\w.]+:(\w+)")
"""A class of the user's own: ``my.module:Mechanism``."""


def short_picks(picks: Mapping[str, Scalar] | None) -> str:
    """What was picked, by domain, in short; empty where nothing is searched.

    Numbers go by the last part of their domain's name, or more of it where two end alike; words of well-known settings
    stand alone. The order is the same whoever asks: the three of `FIRST`, what else belongs to the suppression, the
    rest. Values of ``${NAME}`` must be masked before (``masking.shown``).
    """
    if not picks:
        return ""
    names = sorted(picks, key=_place)
    short, words = short_names(names), Counter(str(picks[name]) for name in names)
    return ", ".join(_one(name, short[name], picks[name], alone=words[str(picks[name])] == 1) for name in names)


def short_names(names: list[str]) -> dict[str, str]:
    """Dotted names by their last part, with so much more of it as keeps them apart: ``suppression.p_max`` as ``p_max``.

    A place in a list says nothing alone, so it keeps what stands before it.
    """
    lengths = {name: 2 if name.rsplit(".", 1)[-1].isdigit() else 1 for name in names}
    while True:
        ends = {name: ".".join(name.split(".")[-length:]) for name, length in lengths.items()}
        often = Counter(ends.values())
        longer = [name for name in ends if often[ends[name]] > 1 and ends[name] != name]
        if not longer:
            return ends
        lengths |= {name: lengths[name] + 1 for name in longer}


def short_value(value: Scalar) -> str:
    """A value in a few digits; options that are lists or mappings by what they hold."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.{DIGITS}g}"
        case str() if value[:1] in "[{" and value:
            return _nested(value)
        case str() if match := _CLASS.fullmatch(value):
            return match[1]
        case _:
            return str(value)


def _place(name: str) -> tuple[int, bool, str]:
    return FIRST.index(name) if name in FIRST else len(FIRST), not name.startswith("suppression"), name


def _one(name: str, short: str, value: Scalar, *, alone: bool) -> str:
    if isinstance(value, str) and (number := _as_number(value)) is not None:
        value = number  # a column of several types holds text
    text = short_value(value)
    is_word = isinstance(value, str) and value != "null"
    return text if is_word and alone and name.rsplit(".", 1)[-1] in SPEAKING else f"{short} {text}"


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _nested(label: str) -> str:
    """An option that goes by its JSON: ``encoder.4+decoder``, ``inverse_frequency(tau 0.5)``."""
    try:
        option = json.loads(label)
    except ValueError:
        return label
    if isinstance(option, list):
        return "+".join(map(_inner, option))
    inside = ", ".join(f"{key} {_inner(value)}" for key, value in option.items() if key != "name")
    name = str(option.get("name", ""))
    return f"{name}({inside})" if inside else name


def _inner(value: object) -> str:
    return short_value(value) if isinstance(value, str | int | float | None) else json.dumps(value)
