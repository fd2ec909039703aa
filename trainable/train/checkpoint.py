"""A trial's state as bytes and back; where the bytes are kept is the caller's business."""

import io
from collections.abc import Mapping
from typing import Any

import torch


def to_bytes(state: Mapping[str, object], *, ended: bool = False) -> bytes:
    """The state that ``EpochResult.state`` gives, as ``torch.save`` writes it.

    Of a trial that has ended the optimizer's part is left out: two thirds of all, with AdamW, and no epoch needs it.
    """
    stream = io.BytesIO()
    torch.save({name: part for name, part in state.items() if not (ended and name == "optimizer")}, stream)
    return stream.getvalue()


def from_bytes(content: bytes) -> dict[str, Any]:
    """The state, its tensors on the CPU; reads tensors and plain values alone (``weights_only``)."""
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state
