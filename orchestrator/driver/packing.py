"""Trials on the memory of GPUs: what share of which card a trial takes. Pure: knows no ray, no torch and no study.

A process holds its tensors, which a cap limits, and its CUDA context, which none does. A trial's share is the measured
peak of its tensors and a margin, plus the context, as a part of the card, rounded up to Ray's ten thousandths; its cap
is its share less the context. So the caps and the contexts of all that Ray puts on a card never exceed it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trainable.failure import GIB

MARGIN = 0.15
"""Added to a measured peak: fragments between tensors, batches that need more than the probed ones."""
CONTEXT_BYTES = 640 * 2**20
"""As ``trainable.train.gpu_memory`` reserves it, once per process; a test holds the two equal."""
STEPS = 10_000
"""Ray counts in ten thousandths of a GPU."""


@dataclass(frozen=True)
class Card:
    """The GPUs of a node, which count as its smallest one."""

    node: str | None
    """Ray's resource that only this node has; None stands for any node of a cluster whose cards are all alike."""
    total: int
    """Bytes that one of them has."""


@dataclass(frozen=True)
class Share:
    """A part of a GPU, on one node or on any."""

    gpu: float
    """In (0, 1]."""
    node: str | None = None


def needed_bytes(peak: int) -> int:
    """What a process takes of a card whose tensors peak at so many bytes, its margin and its context included."""
    return math.ceil(peak * (1 + MARGIN)) + CONTEXT_BYTES


def share_of(peak: int, total: int) -> float | None:
    """The share of a card of ``total`` bytes; None where not even the whole card holds the peak.

    A peak that fits, but not with its margin, takes the whole card.
    """
    if peak + CONTEXT_BYTES > total:
        return None
    return min(1.0, math.ceil(needed_bytes(peak) / total * STEPS) / STEPS)


def cap_bytes(share: float, total: int) -> int:
    """What the tensors of a process with a share of a card may take."""
    return max(0, math.floor(share * total) - CONTEXT_BYTES)


def shares(peak: int, cards: Sequence[Card]) -> list[Share]:
    """Where a trial may run, the card that it fills best first; empty where no card holds it."""
    options = [Share(share, card.node) for card in cards if (share := share_of(peak, card.total)) is not None]
    return sorted(options, key=lambda option: -option.gpu)


def whole(cards: Sequence[Card]) -> list[Share]:
    """A GPU alone: the largest there are, where they differ."""
    largest = max((card.total for card in cards), default=0)
    return [Share(1.0, card.node) for card in cards if card.total == largest] or [Share(1.0)]


def together(peak: int, total: int) -> int:
    """Trials of one peak that a card holds at a time."""
    share = share_of(peak, total)
    return 0 if share is None else int(STEPS / round(share * STEPS))


def no_card(peak: int, cards: Sequence[Card], batch: int) -> str:
    """Why a trial of a peak runs on none of the cards, and what would fit."""
    largest = max((card.total for card in cards), default=0)
    return f"needs {_gib(peak + CONTEXT_BYTES)} GiB of GPU memory, {_has(largest)}; {would_fit(peak, largest, batch)}"


def would_fit(peak: int, total: int, batch: int) -> str:
    """What would let a trial run whose peak is at least so many bytes; activations grow with the batch."""
    images = min(batch - 1, int(batch * (total - CONTEXT_BYTES) / peak)) if peak > 0 else 0
    fewer = f"train.batch_size of at most {images}, a smaller data.size" if images >= 1 else "a smaller data.size"
    return f"what would fit: a GPU of more than {_gib(peak + CONTEXT_BYTES)} GiB, {fewer}, or train.memory: recompute"


def _has(total: int) -> str:
    return f"the largest GPU has {_gib(total)}" if total else "and no GPU is there"


def _gib(count: int) -> str:
    return f"{count / GIB:.1f}"
