"""Engines that train nothing, for tests of what surrounds the trials."""

import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainable.config import TrialConfig
from trainable.failure import TrialFailed

State = Mapping[str, Any] | None


@dataclass(frozen=True)
class Result:
    """A `FittedEpoch` of which there is nothing to look at."""

    epoch: int
    metrics: dict[str, float]
    rare: tuple[int, ...] = ()
    confusion: None = None
    reliance: None = None
    calibration: None = None

    def state(self) -> dict[str, Any]:
        return {"epoch": self.epoch}

    def pictures(self) -> dict[str, bytes]:
        return {}

    def gradcam(self) -> None:
        return None

    def weight_cosines(self) -> None:
        return None


def _p_max(config: TrialConfig) -> float:
    return config.suppression.p_max if config.suppression else 0.0


def fit(config: TrialConfig, *, threads: int, resume_from: State = None) -> Iterator[Result]:
    """A score that is best at p_max 0.5 and grows with the epochs."""
    for epoch in range(resume_from["epoch"] + 1 if resume_from else 1, config.train.epochs + 1):
        score = epoch / config.train.epochs * (1 - abs(_p_max(config) - 0.5))
        yield Result(epoch, {"val/miou": score, "train/loss": 1 - score, "threads": threads, "pid": os.getpid()})


def slow(config: TrialConfig, *, threads: int, resume_from: State = None) -> Iterator[Result]:
    for result in fit(config, threads=threads, resume_from=resume_from):
        time.sleep(0.7)
        yield result


def failing(config: TrialConfig, *, threads: int, resume_from: State = None) -> Iterator[Result]:
    """Trials with p_max over one half fail in their second epoch."""
    for result in fit(config, threads=threads, resume_from=resume_from):
        if result.epoch == 2 and _p_max(config) > 0.5:
            raise TrialFailed("epoch 2, step 3: the loss is nan")
        yield result


def dying(config: TrialConfig, *, threads: int, resume_from: State = None) -> Iterator[Result]:
    """The worker of the first attempt at each trial dies."""
    marker = f"{os.environ['DEATHS']}/{config.seed}"
    if not os.path.exists(marker):
        with open(marker, "w"):
            os._exit(1)
    yield from fit(config, threads=threads, resume_from=resume_from)


def undefined(config: TrialConfig, *, threads: int, resume_from: State = None) -> Iterator[Result]:
    """The objective is not a number in the last epoch."""
    for result in fit(config, threads=threads, resume_from=resume_from):
        last = result.epoch == config.train.epochs
        yield Result(result.epoch, {**result.metrics, "val/miou": math.nan if last else 0.5})


def visible_devices(config: TrialConfig, *, threads: int, resume_from: State = None) -> Iterator[Result]:
    """Reports whether CUDA_VISIBLE_DEVICES hides every GPU."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    for result in fit(config, threads=threads, resume_from=resume_from):
        yield Result(result.epoch, {**result.metrics, "hidden": float(hidden)})
