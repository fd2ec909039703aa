"""Engines for tests of ranks: each epoch is an all-reduce, and something may happen to a rank."""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

from trainable.config import TrialConfig
from trainable.data.errors import DataError
from trainable.failure import TrialFailed

State = Mapping[str, Any] | None


@dataclass(frozen=True)
class Result:
    epoch: int
    metrics: dict[str, float]
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    rare: tuple[int, ...] = ()
    confusion: None = None
    reliance: None = None

    def state(self) -> dict[str, Any]:
        return {"epoch": self.epoch, **self.tensors}

    def pictures(self) -> dict[str, bytes]:
        return {}

    def gradcam(self) -> None:
        return None

    def weight_cosines(self) -> None:
        return None


def fit(config: TrialConfig, *, device: str, threads: int | None, resume_from: State = None) -> Iterator[Result]:
    """The sum over ranks of 1 + rank, added up over the epochs; every rank has it."""
    total = resume_from["total"].to(device, copy=True) if resume_from else torch.zeros(1, device=device)
    for epoch in range(resume_from["epoch"] + 1 if resume_from else 1, config.train.epochs + 1):
        _strike(epoch)
        share = torch.ones(1, device=device) * (1 + dist.get_rank())
        dist.all_reduce(share)
        total += share
        metrics = {"val/miou": float(total), "world": float(dist.get_world_size()), "pid": float(os.getpid())}
        yield Result(epoch, metrics, {"total": total})


def _strike(epoch: int) -> None:
    """Do to this rank what STRIKE says, as ``fail@1:2``: what happens, to which rank, in which epoch."""
    what, _, where = os.environ.get("STRIKE", "").partition("@")
    if where != f"{dist.get_rank()}:{epoch}":
        return
    match what:
        case "fail":
            raise TrialFailed(f"epoch {epoch}: the loss is nan")
        case "data":
            raise DataError("/data/frame.png: no such file")
        case "memory":
            raise torch.OutOfMemoryError("CUDA out of memory")
        case "kill":
            time.sleep(0.5)  # the others wait in the collective, and the test has seen them
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(600)
