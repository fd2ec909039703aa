"""Whether suppression bites: p(z) on the pixels of z, with z kept and with z dropped. Imports no torch."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Self

LAST_EPOCHS = 3
"""Epochs that dropped a class, from the last one back, whose means are judged."""
BITES_BELOW = 0.9
"""Suppression bites where p(z) with z dropped is below this share of p(z) with z kept."""
ADVICE = (
    "dropping a class hardly takes its information away, so little was tested; try what is not set yet of "
    "suppression.granularity: image and model.init: small, or a longer training whose drops come late "
    "(suppression.schedule: linear or warmup_constant)"
)


def is_control(setting: Callable[[str], object]) -> bool:
    """Whether a trial's mechanism is not meant to take a class away; ``setting`` gives a value by its path."""
    name, fill, mask = (setting(f"suppression.mechanism.{key}") for key in ("name", "fill", "mask"))
    return name == "random_channels" or fill == "none" or mask in ("elsewhere", "blocks")


@dataclass(frozen=True)
class Efficacy:
    """Mean p(z) on the pixels of z."""

    kept: float
    """With every class kept."""
    dropped: float
    """With z dropped."""

    @classmethod
    def of(cls, kept: Sequence[float], dropped: Sequence[float], shares: Sequence[float]) -> Self | None:
        """Of the last epochs that dropped a class; None where no epoch did.

        The sequences hold a value for each epoch: p(z) both ways, NaN where it is not known, and the share of draws
        that dropped a class.
        """
        rows = [(k, d) for k, d, share in zip(kept, dropped, shares, strict=True) if share > 0 and math.isfinite(k + d)]
        return cls(*map(fmean, zip(*rows[-LAST_EPOCHS:], strict=True))) if rows else None

    @classmethod
    def mean(cls, several: Iterable[Self]) -> Self | None:
        """The mean of several; None of none."""
        pairs = [(one.kept, one.dropped) for one in several]
        return cls(*map(fmean, zip(*pairs, strict=True))) if pairs else None

    @property
    def bites(self) -> bool:
        """Whether suppression takes away what it should."""
        return self.dropped < BITES_BELOW * self.kept
