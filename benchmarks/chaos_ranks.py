"""Kills of single ranks of a trial for ``chaos.py``, and how long what is left of the attempt takes to end."""

import random
import time
from dataclasses import dataclass, field

import psutil

from trainable.team.team import MODULE

LONGEST_END_S = 20.0
"""From the death of a rank to the end of all others."""


@dataclass
class RankKills:
    """What happened to attempts of which one rank was killed."""

    by_rank: dict[int, int] = field(default_factory=dict)
    """Kills by rank."""
    end_seconds: list[float] = field(default_factory=list)
    """From each kill to the end of the attempt's last process."""
    left: list[str] = field(default_factory=list)
    """Processes that did not end in time."""

    def kill(self, worker: int, random_: random.Random) -> bool:
        """SIGKILL a random rank of a worker's trial and wait for the others; False where it had no trial just then.

        Processes wait for the next trial of their worker; it replaces one that died meanwhile.
        """
        ranks = ranks_of(worker)
        if len(ranks) < 2:
            return False
        rank = random_.randrange(len(ranks))
        began = time.monotonic()
        try:
            ranks[rank].kill()
        except psutil.NoSuchProcess:
            return False
        alive = ranks
        while alive and time.monotonic() < began + LONGEST_END_S:
            _, alive = psutil.wait_procs(alive, timeout=0.1)
            if rank and any(process not in ranks for process in ranks_of(worker)):
                return False
        self.by_rank[rank] = self.by_rank.get(rank, 0) + 1
        self.end_seconds.append(time.monotonic() - began)
        self.left += [f"rank {ranks.index(process)} lives {LONGEST_END_S:g} s after rank {rank}" for process in alive]
        return True

    def note_strays(self, mark: str) -> None:
        """Note rank processes that outlive their study; ``mark`` is in the environment of its processes."""
        for process in psutil.process_iter():
            try:
                if MODULE in process.cmdline() and mark in process.environ().values():
                    self.left.append(f"process {process.pid} outlives its study")
            except psutil.Error:
                continue


def ranks_of(worker: int) -> list[psutil.Process]:
    """The processes of a worker's trial, rank 0 first; empty where the worker is gone."""
    try:
        first = psutil.Process(worker)
        others = [child for child in first.children() if MODULE in child.cmdline()]
    except psutil.Error:
        return []
    return [first, *sorted(others, key=lambda child: (child.create_time(), child.pid))]
