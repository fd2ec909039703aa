"""A trial's state as bytes and back; where the bytes are kept is the caller's business."""

import io
from collections.abc import Mapping
from typing import Any

import torch


def to_bytes(state: Mapping[str, object]) -> bytes:
    """The state that ``EpochResult.state`` gives, as ``torch.save`` writes it."""
    stream = io.BytesIO()
    torch.save(dict(state), stream)
    return stream.getvalue()


def from_bytes(content: bytes) -> dict[str, Any]:
    """The state, its tensors on the CPU; reads tensors and plain values alone (``weights_only``)."""
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state
