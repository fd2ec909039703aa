"""A trial in a process of its own beside others: ``python -m gpu_sections.child FRACTION THREADS CONFIG``.

It trains an epoch, then as many more as each line of its standard input says, and answers with JSON lines. A trial that
fails says why, lets go of it, and trains on the small trial of SECOND instead, as a worker takes the next trial.
"""

import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import chain, islice

import torch

from gpu_sections.trials import device, small_trial
from trainable.config import TrialConfig, read_trial
from trainable.evaluate.metrics.names import TRAIN_LOSS
from trainable.failure import TrialFailed
from trainable.train.engine import fit

Answer = dict[str, object]


class Child:
    """The other end: a process that trains when it is told to."""

    def __init__(self, config: TrialConfig, fraction: float, threads: int) -> None:
        """Start it; ``fraction`` is the share of the GPU's memory that it may take."""
        command = [sys.executable, "-m", "gpu_sections.child", str(fraction), str(threads), config.model_dump_json()]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def train(self, epochs: int) -> None:
        """Tell it to train; ``answer`` says when it has."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{epochs}\n")
        self._process.stdin.flush()

    def answer(self) -> Answer:
        """What it did last: its losses, or why it failed, and the memory it holds."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: Answer = json.loads(line) if line else {"failed": f"exit code {self._process.wait()}"}
        return answer

    def end(self) -> None:
        """Let it go."""
        self._process.communicate()


def main(fraction: float, threads: int, config: TrialConfig) -> None:
    """Train as standard input says."""
    if device().type == "cuda" and fraction < 1:
        _set_share(fraction)
    results = _losses(config, threads)
    for line in chain("1", sys.stdin):
        if not _answer(results, int(line)):
            results = _losses(small_trial(True, epochs=100), threads)


def _set_share(share: float) -> None:
    """Cap this process as a trial's is, where there is such a cap."""
    try:
        gpu_memory = import_module("trainable.train.gpu_memory")
    except ImportError:
        torch.cuda.set_per_process_memory_fraction(share)
    else:
        gpu_memory.prefer_expandable_segments()
        gpu_memory.set_share(share)


def _losses(config: TrialConfig, threads: int) -> Iterator[float]:
    for result in fit(config, threads=threads):
        yield result.metrics[TRAIN_LOSS]


def _answer(results: Iterator[float], epochs: int) -> bool:
    """Train and say what came of it; whether there is more to train."""
    answer: Answer = {}
    try:
        answer["losses"] = list(islice(results, epochs))
    except (TrialFailed, torch.OutOfMemoryError) as error:
        answer["failed"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    if device().type == "cuda":
        answer["peak"] = torch.cuda.max_memory_reserved() / 2**20
        gc.collect()
        answer["reserved"] = torch.cuda.memory_reserved() / 2**20
        free, total = torch.cuda.mem_get_info()
        answer["in use"] = (total - free) / 2**20
    print(json.dumps(answer), flush=True)
    return "failed" not in answer


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), read_trial(json.loads(sys.argv[3])))
