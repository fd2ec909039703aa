"""Further engines that train nothing: they hang, or their storage fails."""

import errno
import os
import random
import time
from collections.abc import Iterator

from fake_fit import Result, State, _p_max, fit, slow

from orchestrator.store.objects import Objects
from trainable.config import TrialConfig
from trainable.failure import MemoryUse, OutOfMemory, TrialFailed


def hanging(config: TrialConfig, *, threads: int, resume_from: State = None) -> Iterator[Result]:
    """Trials with p_max over one half never end their second epoch."""
    for result in fit(config, threads=threads, resume_from=resume_from):
        if result.epoch == 2 and _p_max(config) > 0.5:
            time.sleep(600)
        yield result


def failing_plain_beginning(config: TrialConfig, *, threads: int, resume_from: State = None) -> Iterator[Result]:
    """Plain trials fail at once, and so do the prefixes of others."""
    if config.suppression is None:
        raise TrialFailed("epoch 1: the plain trial fails")
    yield from fit(config, threads=threads, resume_from=resume_from)


def full_disk(config: TrialConfig, *, threads: int, resume_from: State = None) -> Iterator[Result]:
    """While the file FULL names is there, no checkpoint of trials with p_max over one half is taken after epoch 1."""
    whole = Objects.write

    def write(self: Objects, name: str, *parts: bytes, flush: bool = True) -> None:
        full = os.path.exists(os.environ["FULL"]) and _p_max(config) > 0.5
        if full and name.endswith(".bin") and not name.endswith("-1.bin"):
            raise OSError(errno.ENOSPC, "No space left on device", name)
        whole(self, name, *parts, flush=flush)

    Objects.write = write  # type: ignore[method-assign]
    try:
        for result in fit(config, threads=threads, resume_from=resume_from):
            time.sleep(0.3)
            yield result
    finally:
        Objects.write = whole  # type: ignore[method-assign]


def noted(config: TrialConfig, *, threads: int, resume_from: State = None) -> Iterator[Result]:
    """Prints, and takes a while for each epoch."""
    for result in fit(config, threads=threads, resume_from=resume_from):
        print(f"an engine's own words in epoch {result.epoch}")
        time.sleep(0.5)
        yield result


def gated(config: TrialConfig, *, threads: int, resume_from: State = None) -> Iterator[Result]:
    """Slow trials; each epoch begins once the file GATE is there."""
    for result in slow(config, threads=threads, resume_from=resume_from):
        while not os.path.exists(os.environ["GATE"]):
            time.sleep(0.05)
        yield result


def stale_data(config: TrialConfig, *, threads: int, resume_from: State = None) -> Iterator[Result]:
    """While the file STALE names is there, the data of trials with p_max over one half cannot be read in epoch 2."""
    for result in fit(config, threads=threads, resume_from=resume_from):
        if result.epoch == 2 and _p_max(config) > 0.5 and os.path.exists(os.environ["STALE"]):
            raise OSError(errno.ESTALE, "Stale file handle", "/data/frame.png")
        yield result


GIB = 2**30


def out_of_memory(config: TrialConfig, *, threads: int, resume_from: State = None) -> Iterator[Result]:
    """In epoch 3 a trial with p_max over 0.4 finds no memory: once, or for ever while it does not recompute.

    The folder OUT_OF_MEMORY remembers how often, the variable ALWAYS says that once is not enough.
    """
    for result in fit(config, threads=threads, resume_from=resume_from):
        marker = f"{os.environ['OUT_OF_MEMORY']}/{config.seed}"
        always = "ALWAYS" in os.environ and config.train.memory != "recompute"
        if result.epoch == 3 and _p_max(config) > 0.4 and (always or not os.path.exists(marker)):
            with open(marker, "w"):
                use = MemoryUse(peak=13 * GIB, cap=11 * GIB, free=GIB, total=24 * GIB)
                raise OutOfMemory("epoch 3, step 2", use, "lower train.batch_size")
        yield result


def peak(config: TrialConfig, *, threads: int) -> tuple[int, int]:
    """Every trial holds 9 GiB of a GPU of 24."""
    return 9 * GIB, 24 * GIB


def uneven(config: TrialConfig, *, threads: int, resume_from: State = None) -> Iterator[Result]:
    """A score that alpha raises, with noise of alpha and seed; it takes a moment."""
    alpha = config.suppression.alpha if config.suppression else 0.0
    for result in fit(config, threads=threads, resume_from=resume_from):
        time.sleep(0.2)
        noise = random.Random(f"0 {alpha} {config.seed}").gauss(0, 0.01)
        yield Result(result.epoch, {**result.metrics, "val/miou": 0.5 + 0.06 * (alpha == 1) + noise})
