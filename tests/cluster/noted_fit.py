"""An engine that trains nothing and notes where and when each epoch ended, for tests of studies on several hosts."""

import os
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fake_fit import Result, fit

from trainable.config import TrialConfig

NOTES = "EPOCH_NOTES"
"""Environment variable with the file of the notes, which all hosts share."""
EPOCH_SECONDS = 1.0


def noted(config: TrialConfig, *, threads: int, resume_from: Mapping[str, Any] | None = None) -> Iterator[Result]:
    began = time.time()
    for result in fit(config, threads=threads, resume_from=resume_from):
        time.sleep(EPOCH_SECONDS)
        with open(os.environ[NOTES], "a") as notes:  # one write of a short line: whole, whoever writes beside it
            notes.write(f"{platform.node()} {config.seed} {result.epoch} {began:.3f} {time.time():.3f}\n")
        yield result


@dataclass(frozen=True)
class Note:
    """An epoch that a host has trained, kept or not."""

    host: str
    seed: int
    """Of the trial; tells one from the other."""
    epoch: int
    began: float
    """When the attempt began, in seconds since 1970."""
    ended: float


def notes_in(path: Path) -> list[Note]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [
        Note(host, int(seed), int(epoch), float(began), float(ended))
        for host, seed, epoch, began, ended in map(str.split, lines)
    ]
