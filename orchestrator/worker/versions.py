"""Packages whose versions must be equal on all nodes of a cluster, also of those that join in mid-study."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import version

PACKAGES = ("dropclass-orchestrator", "ray", "torch")


@cache
def versions() -> Mapping[str, str]:
    """Their versions here."""
    return {name: version(name) for name in PACKAGES}


def difference(theirs: Mapping[str, str], ours: Mapping[str, str]) -> str | None:
    """What differs there from here, in words; None where nothing does."""
    other = [f"{name} {theirs[name]} (here {ours[name]})" for name in PACKAGES if theirs[name] != ours[name]]
    return f"{', '.join(other)}; install the same versions everywhere" if other else None
