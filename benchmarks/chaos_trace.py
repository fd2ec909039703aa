"""What trials note of their epochs while a chaos run kills them, and what the notes say."""

import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainable.config import TrialConfig
from trainable.ranks.group import rank
from trainable.train.engine import EpochResult
from trainable.train.engine import fit as engine

TRACE = "CHAOS_TRACE"
"""Environment variable with the folder where trials note their epochs; also marks the processes that may be killed."""


def traced(
    config: TrialConfig, *, threads: int, resume_from: Mapping[str, Any] | None = None, device: str | None = None
) -> Iterator[EpochResult]:
    """The engine; notes where a trial starts, which epochs it trained and which of them it handed on."""
    _note(config, "start", int(resume_from["epoch"]) if resume_from else 0)
    for result in engine(config, device=device, threads=threads, resume_from=resume_from):
        _note(config, "trained", result.epoch)
        yield result
        _note(config, "handed", result.epoch)


def _note(config: TrialConfig, what: str, epoch: int) -> None:
    if rank() > 0:
        return
    whose = zlib.crc32(config.model_dump_json().encode())  # trials may share a seed
    with open(f"{os.environ[TRACE]}/{config.seed}-{whose}.txt", "a") as stream:
        stream.write(f"{what} {epoch}\n")


def epochs_trained() -> int:
    """How many epochs all attempts have trained."""
    traces = Path(os.environ[TRACE]).glob("*.txt")
    return sum(trace.read_text().count("trained") for trace in traces)


def repeats() -> Counter[int]:
    """Attempts by the number of epochs that an earlier attempt had handed on and they trained again."""
    found: Counter[int] = Counter()
    for trace in Path(os.environ[TRACE]).glob("*.txt"):
        handed = 0
        for line in trace.read_text().splitlines():
            what, epoch = line.split()
            if what == "handed":
                handed = int(epoch)
            elif what == "start":
                if handed or int(epoch):
                    found[max(0, handed - int(epoch))] += 1
                handed = int(epoch)
    return found


def clear(folder: Path) -> None:
    """Empty the notes: trials of one study have the seeds of the other's."""
    folder.mkdir(exist_ok=True)
    for note in folder.iterdir():
        note.unlink()
