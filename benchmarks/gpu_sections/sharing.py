"""Four small trials on one GPU at once, each capped at a quarter of its memory, against one after the other.

All four processes are started and have trained an epoch before anything is timed. Then one of them trains alone while
the others wait, then all train the same number of epochs, evaluation included. Four times the first over the second is
what sharing gains: 1 is nothing, 4 as if each had the GPU for itself.
"""

import os
import time
from collections.abc import Iterator, Sequence

from gpu_sections.child import Answer, Child
from gpu_sections.trials import SUPPRESSION, Row, small_network, small_trial, trial
from trainable.config import TrialConfig

TRIALS = 4


def measure(tiny: bool) -> Iterator[Row]:
    """Yield a row per trial."""
    epochs = 1 if tiny else 6
    many = 1 + 2 * epochs
    yield _row("FPN ResNet-18, shapes 64x64, batch 16", small_trial(tiny, epochs=many), epochs)
    size, images = ([32, 64], 8) if tiny else ([352, 480], 96)
    data = {"name": "shapes", "size": size, "train_images": images, "val_images": images // 8}
    camvid = trial(data, *small_network(tiny), {"epochs": many, "batch_size": 8}, SUPPRESSION)
    yield _row("FPN ResNet-18, shapes 352x480, batch 8", camvid, epochs)


def _row(name: str, config: TrialConfig, epochs: int) -> Row:
    threads = max(1, len(os.sched_getaffinity(0)) // TRIALS)
    children = [Child(config, 1 / TRIALS, threads) for _ in range(TRIALS)]
    try:
        started = [child.answer() for child in children]
        alone, _ = _timed(children[:1], epochs)
        together, answers = _timed(children, epochs)
    finally:
        for child in children:
            child.end()
    failed = [str(answer["failed"]) for answer in (*started, *answers) if "failed" in answer]
    peaks = [peak for answer in answers if isinstance(peak := answer.get("peak"), float)]
    in_use = answers[-1].get("in use")
    return {
        "trial": name,
        "one after the other, s": TRIALS * alone,
        "at once, s": together,
        "gain": TRIALS * alone / together,
        "peak MiB of each": round(max(peaks, default=0)),
        "MiB in use on the card": round(in_use) if isinstance(in_use, float) else None,
        "failed": "; ".join(failed),
    }


def _timed(children: Sequence[Child], epochs: int) -> tuple[float, list[Answer]]:
    begun = time.perf_counter()
    for child in children:
        child.train(epochs)
    answers = [child.answer() for child in children]
    return time.perf_counter() - begun, answers
