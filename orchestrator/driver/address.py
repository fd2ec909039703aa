"""Which Ray cluster a launch is to use. Imports no ray: a dry run asks, too."""

import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import psutil


@dataclass(frozen=True)
class Address:
    """Where a cluster is, as the user gave it; ``str`` names it with its source."""

    text: str
    source: str
    """``--address``, ``RAY_ADDRESS`` or ``ray symmetric-run``."""

    @classmethod
    def of(cls, text: str | None) -> Self | None:
        """The cluster that ``--address`` names, else the one that was made for this job; None for a Ray of our own.

        RAY_ADDRESS, which ``ray job`` sets, says which cluster is meant; ``ray symmetric-run`` sets nothing.
        """
        if text in (None, "", "auto"):
            if os.environ.get("RAY_ADDRESS"):
                return cls._named(os.environ["RAY_ADDRESS"], "RAY_ADDRESS")
            if (around := _symmetric_run()) is not None:
                return cls(around, "ray symmetric-run --address")
        return cls._named(text, "--address")

    @classmethod
    def _named(cls, text: str | None, source: str) -> Self | None:
        return cls(text, source) if text and text != "local" else None

    def __str__(self) -> str:
        return f"{self.source}{'=' if self.source == 'RAY_ADDRESS' else ' '}{self.text}"


def _symmetric_run() -> str | None:
    """The address that a ``ray symmetric-run`` was given of which this process is the command."""
    for process in psutil.Process().parents():
        with suppress(psutil.Error):
            words = process.cmdline()
            own = words[: words.index("--")] if "--" in words else words
            if "symmetric-run" in own or any(word.endswith("symmetric_run.py") for word in own):
                after = [word for flag, word in pairwise(own) if flag == "--address"]
                given = [*after, *(word.removeprefix("--address=") for word in own if word.startswith("--address="))]
                return given[-1] if given else None
    return None
