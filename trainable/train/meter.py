"""Losses of an epoch's training steps, kept on the device until they are looked at."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainable.evaluate.metrics.names import (
    TRAIN_AUXILIARY_CE,
    TRAIN_CE,
    TRAIN_DROPPED,
    TRAIN_LOSS,
    TRAIN_SUPPRESSED_CE,
    TRAIN_SUPPRESSION,
)
from trainable.failure import TrialFailed
from trainable.suppression.loss import PathLosses


@dataclass
class Meter:
    """Collects the steps of an epoch."""

    epoch: int
    check_every: int
    """Steps between two looks at the losses."""
    losses: list[Tensor] = field(default_factory=list)
    terms: dict[str, list[Tensor]] = field(default_factory=dict)
    shares: list[float] = field(default_factory=list)
    checked: int = 0

    def add(self, loss: Tensor, terms: PathLosses) -> None:
        """Note a step; raises ``TrialFailed`` when it looks at the losses and one is not finite."""
        self.losses.append(loss.detach())
        self.shares.append(terms.dropped_share)
        named = {
            TRAIN_CE: terms.plain,
            TRAIN_SUPPRESSED_CE: terms.suppressed,
            TRAIN_SUPPRESSION: terms.probability,
            TRAIN_AUXILIARY_CE: terms.auxiliary,
        }
        for name, term in named.items():
            if term is not None:
                self.terms.setdefault(name, []).append(term.detach())
        if len(self.losses) - self.checked >= self.check_every:
            self.check()

    def check(self) -> None:
        """Raise ``TrialFailed`` at the first loss since the last look that is not finite."""
        fresh = self.losses[self.checked :]
        if fresh:
            values = torch.stack(fresh)
            bad = (~torch.isfinite(values)).nonzero()
            if len(bad):
                step = int(bad[0])
                raise TrialFailed(f"epoch {self.epoch}, step {self.checked + step + 1}: the loss is {values[step]:g}")
        self.checked = len(self.losses)

    def metrics(self) -> dict[str, float]:
        """Means over the epoch, each over the steps that have the term."""
        self.check()
        return {
            TRAIN_LOSS: _mean(self.losses),
            TRAIN_SUPPRESSION: 0.0,
            **{name: _mean(values) for name, values in self.terms.items()},
            TRAIN_DROPPED: sum(self.shares) / len(self.shares),
        }


def _mean(values: list[Tensor]) -> float:
    return float(torch.stack(values).double().mean())
