"""Descriptions of runs and experiments in MLflow, which people edit too: what somebody changed by hand stays.

A note ends with a comment, which no page shows, that holds the hash of what stands above it. A text whose hash is
another one was edited, one without a hash is somebody's own.
"""

import hashlib
import re
from collections.abc import Sequence

NOTE = "mlflow.note.content"
"""Tag that MLflow shows as the description of a run or of an experiment, in Markdown."""
MOST_OF_RUN, MOST_OF_EXPERIMENT = 5900, 19_000
"""Characters; MLflow's own limits are 8,000 and 20,000, and every page of runs loads those of all of them."""
_HEAD, _END = "\n\n<!-- written by dropclass-orchestrator ", ": an edited text is not replaced -->"
_SIGNATURE = re.compile(f"{re.escape(_HEAD)}[0-9a-f]{{12}}{re.escape(_END)}$")
_SPECIAL = re.compile(r"([\\`*\[\]|~]|(?<!\w)_|_(?!\w))")


def sign(text: str, most: int) -> str:
    """A text as it is written, its last lines left out where it is too long."""
    room = most - len(_signature(""))
    if len(text) > room:
        text = text[: room - 2].rpartition("\n")[0].rstrip() + "\n…"
    return text + _signature(text)


def is_free(present: str | None) -> bool:
    """Whether a description may be replaced: there was never one, or it is as this project wrote it."""
    if present is None:
        return True
    match = _SIGNATURE.search(present)
    return match is not None and match[0] == _signature(present[: match.start()])


def replaces(present: str | None, text: str) -> bool:
    """Whether a signed text is to be written in place of what is there."""
    return present != text and is_free(present)


def _signature(text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{_HEAD}{digest}{_END}"


def escaped(text: str) -> str:
    """Text that means itself in a cell or a sentence of Markdown."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split())).replace("<", "&lt;").replace(">", "&gt;")


def table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table whose cells are Markdown."""
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
