"""What ``train.compile`` brings: seconds until the first step is done, and the step after."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from gpu_sections.throughput import alone, write_folder
from gpu_sections.trials import SUPPRESSION, Row, device, large_trial, small_trial
from trainable.config import TrialConfig
from trainable.data.frames import load_splits
from trainable.data.statistics import train_statistics
from trainable.train.compute import choose_compute
from trainable.train.engine import prepare


def measure(tiny: bool) -> Iterator[Row]:
    """Yield a row per model."""
    yield _row("shapes 64x64", "decoder", small_trial(tiny, epochs=1, suppression=SUPPRESSION, compile=True))
    with tempfile.TemporaryDirectory() as name:
        folder = write_folder(Path(name), tiny)
        for model, suppression in (("decoder", SUPPRESSION), ("plain", None)):
            large = large_trial(tiny, folder, crop=False, suppression=suppression, compile=True)
            yield _row("whole frames", model, large)


def _row(data: str, model: str, config: TrialConfig) -> Row:
    seconds, compiled = _seconds_and_step(config)
    eager = config.model_copy(update={"train": config.train.model_copy(update={"compile": False})})
    plainly, step = _seconds_and_step(eager)
    return {
        "data": data,
        "model": model,
        "first steps, s": plainly,
        "compiled, s": seconds,
        "step ms": step[0],
        "compiled ms": compiled[0],
        "x": compiled[0] / step[0],
        "host ms": step[1],
        "compiled host ms": compiled[1],
    }


def _seconds_and_step(config: TrialConfig) -> tuple[float, tuple[float, float, float]]:
    frames = load_splits(config.data).train
    training = prepare(config, choose_compute(str(device()), "auto"), len(frames), train_statistics(config.data))
    begun = time.perf_counter()
    alone(training, 1)
    seconds = time.perf_counter() - begun
    return seconds, alone(training, 10)
