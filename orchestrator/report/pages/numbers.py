"""Numbers and settings as a reader sees them; the same value always reads the same."""

import json
import math
from collections.abc import Mapping, Sequence

from orchestrator.store.flat_config import short

NOTHING = "–"
DIGITS = 4
"""Digits behind the point: scores lie in [0, 1] and seeds differ in the third or so."""


def number(value: float | None) -> str:
    """A metric's value."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return _minus(f"{value:.{DIGITS}f}" if abs(value) < 1000 else f"{value:.6g}")


def signed(value: float | None) -> str:
    """A difference."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return _minus(f"{value:+.{DIGITS}f}" if abs(value) < 1000 else f"{value:+.6g}")


def spread(mean: float, std: float) -> str:
    """Mean and standard deviation; the latter is left out below two values."""
    return f"{number(mean)} ± {number(std)}" if math.isfinite(std) else number(mean)


def interval(low: float | None, high: float | None) -> str:
    """A confidence interval."""
    return NOTHING if low is None or high is None else f"[{signed(low)}, {signed(high)}]"


def probability(p: float | None) -> str:
    """A p value: three digits behind the point, never a bare zero."""
    if p is None:
        return NOTHING
    return "<0.001" if p < 0.0005 else f"{p:.3f}"


def share(value: float | None) -> str:
    """A share in percent."""
    return NOTHING if value is None else f"{100 * value:.0f} %"


def setting(value: object) -> str:
    """A level of a factor or a setting of a trial; sections go by their name, with what else they set."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case Mapping() if not value:
            return "defaults"
        case Mapping():
            rest = {key: inner for key, inner in value.items() if key != "name"}
            inside = ", ".join(f"{key}={setting(inner)}" for key, inner in sorted(rest.items()))
            name = str(value.get("name", ""))
            return f"{name}({inside})" if inside else name
        case str() if value.startswith("["):
            return " + ".join(map(setting, json.loads(value)))
        case str():
            return value
        case Sequence():
            return " + ".join(map(setting, value))
        case _:
            return _minus(short(value))


def listed(names: Sequence[object], most: int = 8) -> str:
    """Names in a row, the first ones of many."""
    first = ", ".join(map(str, names[:most]))
    return first if len(names) <= most else f"{first} and {len(names) - most} more"


def count(number_of: int, noun: str) -> str:
    """``1 seed``, ``2 seeds``."""
    return f"{number_of} {noun}" if number_of == 1 else f"{number_of} {noun}s"


def _minus(text: str) -> str:
    """A typographic minus; none before a zero that was rounded."""
    if text[:1] in "-+" and not text.strip("+-0."):
        text = text[1:]
    return text.replace("-", "−") if text[:1] in "-+" or text[:1].isdigit() else text
