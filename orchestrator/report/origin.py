"""Where the runs of a study come from: launches, machines, time; what the study's directory keeps beside its table.

A study of an older version lacks some of it, and one of which only the small files were copied lacks more: each part is
empty then, and a report says so. Reads a file for each of some runs, so it is read only where a report asks for it.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from pydantic import JsonValue

from orchestrator.store import layout
from orchestrator.store.launches import Launch, read_launches
from orchestrator.store.layout import TrialFiles
from orchestrator.store.objects import DamagedError, Objects
from orchestrator.store.spending import Spent, all_spent

MOST_CLAIMS = 400
"""Runs whose workers are asked, the first and the last among them: a bucket answers a few at a time."""
AT_A_TIME = 16


@dataclass(frozen=True)
class Claim:
    """What the latest worker of a run wrote down of itself."""

    time: float | None
    """When it began, in seconds since 1970."""
    host: str
    cpu: str
    """Model and cores; empty where an older version ran it."""
    gpu: str
    """Names of its GPUs; empty without any."""


@dataclass(frozen=True)
class Origin:
    """Where a study's runs come from."""

    launches: Sequence[Launch] = ()
    claims: Sequence[Claim] = ()
    """Of some runs, in the order of the table."""
    spent: Spent = field(default_factory=Spent)
    page: str | None = None
    """Address of the study in MLflow."""

    @property
    def latest(self) -> Launch | None:
        """The last launch that had something to run."""
        return self.launches[-1] if self.launches else None


def read_origin(objects: Objects, keys: Sequence[str]) -> Origin:
    """What is kept of the runs with these keys; raises OSError as the storage."""
    step = max(1, -(-len(keys) // MOST_CLAIMS))
    chosen = list(dict.fromkeys([*keys[::step], *keys[-1:]]))
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        claims = [claim for claim in pool.map(partial(_claim, objects), chosen) if claim is not None]
    return Origin(read_launches(objects), claims, all_spent(objects), _page(objects))


def _claim(objects: Objects, key: str) -> Claim | None:
    files = TrialFiles(key)
    numbers = layout.numbers(layout.ATTEMPT, objects.names(files.folder))
    tree = _read(objects, files.attempt(numbers[0])) if numbers else {}
    if not tree:
        return None
    time = tree.get("time")
    texts = [text if isinstance(text := tree.get(name), str) else "" for name in ("host", "cpu", "gpu")]
    return Claim(float(time) if isinstance(time, int | float) else None, *texts)


def _page(objects: Objects) -> str | None:
    page = _read(objects, layout.TRACKING).get("page")
    return page if isinstance(page, str) else None


def _read(objects: Objects, name: str) -> Mapping[str, JsonValue]:
    with suppress(DamagedError):
        tree = objects.read_json(name)
        return tree if isinstance(tree, dict) else {}
    return {}
