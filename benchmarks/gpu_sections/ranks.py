"""Two ranks that share one GPU by gloo against one process: the same trial, and what the second process costs.

On one card two ranks gain nothing; what counts is that they end where one process does, in full float32. With more than
one GPU a row says how fast two of them are, by NCCL.
"""

from collections.abc import Iterable, Iterator
from importlib import import_module

import torch
from torch import Tensor

from gpu_sections.trials import SUPPRESSION, Row, device, small_network, trial
from trainable.config import TrialConfig
from trainable.evaluate.metrics.names import MIOU, TRAIN_LOSS, TRAIN_SECONDS
from trainable.train.engine import EpochResult, fit


def measure(tiny: bool) -> Iterator[Row]:
    """Yield a row per trial and way to run it."""
    try:
        fit_on_ranks = import_module("trainable.team.processes").fit_on_ranks
    except ImportError as error:
        yield {"two ranks": "not run", "because": str(error)}
        return
    where = device().type
    for name, suppression in (("plain", None), ("encoder.3, present", _suppression())):
        config = _trial(tiny, suppression)
        one = _Ended.of(fit(config, device=where, threads=1))
        yield {"trial": name, "run by": "one process", **one.figures(one)}
        two = _Ended.of(fit_on_ranks(config, 2, device=where, threads=1))
        yield {"trial": name, "run by": f"two ranks, {torch.cuda.device_count()} GPUs", **two.figures(one)}


def _suppression() -> dict[str, object]:
    return {**SUPPRESSION, "layer": "encoder.3", "sampling": "present", "granularity": "image"}


def _trial(tiny: bool, suppression: dict[str, object] | None) -> TrialConfig:
    images = 16 if tiny else 200
    data = {"name": "shapes", "train_images": images, "val_images": images // 2}
    # SGD: AdamW's first steps are as long for a gradient that is rounding as for any other
    train = {"epochs": 2, "batch_size": 8, "precision": "fp32", "tf32": False, "optimizer": "sgd", "lr": 0.01}
    return trial(data, *small_network(tiny), train, suppression)


class _Ended:
    """What a trial left: metrics of its last epoch, and its weights."""

    def __init__(self, last: EpochResult) -> None:
        self.metrics = dict(last.metrics)
        self.weights: dict[str, Tensor] = {
            name: value.detach().double().cpu() for name, value in last.training.model.named_parameters()
        }

    @classmethod
    def of(cls, results: Iterable[EpochResult]) -> "_Ended":
        """Run it."""
        *_, last = map(cls, results)  # what is kept is taken while the generator is alive
        return last

    def figures(self, reference: "_Ended") -> Row:
        """Against another run of the same trial."""
        names = reference.weights
        return {
            "training, s": self.metrics[TRAIN_SECONDS],
            "train/loss": self.metrics[TRAIN_LOSS],
            "val/miou": self.metrics[MIOU],
            "largest difference of a weight": max(float((self.weights[n] - names[n]).abs().max()) for n in names),
        }
