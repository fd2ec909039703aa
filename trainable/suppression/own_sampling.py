"""A sampling strategy of one's own: its code is called and what it gives is checked.

Shapes: B batch, C classes, G groups that share a draw, H W labels, h w logits.
"""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

from trainable.parts.facts import ClassFacts
from trainable.parts.loading import PartFailed, build, own_code
from trainable.parts.sampling import Sampling
from trainable.parts.section import OwnPart
from trainable.suppression.drop import Drop


class OwnStrategy:
    """Asks a `Sampling` for the weights of a draw."""

    def __init__(self, name: str, part: Sampling, facts: ClassFacts) -> None:
        """Begin with the training classes; raises `PartFailed`."""
        self.name, self.part, self.classes = name, part, len(facts.names)
        with own_code(self.name):
            self.part.begin(facts)

    @classmethod
    def of(cls, section: OwnPart, facts: ClassFacts) -> Self:
        """Make the strategy that a section names; raises `PartFailed`."""
        return cls(section.name, build(section, Sampling), facts)

    def weights(self, labels_BHW: Tensor, groups: int) -> Tensor:
        """Weights [1,C] or [G,C], float64, on the device they were given on; raises `PartFailed`."""
        with own_code(self.name):
            weights = self.part.weights(labels_BHW)
        if not isinstance(weights, Tensor):
            raise PartFailed(f"{self.name}: weights() gave a {type(weights).__name__}, not a tensor [{self.classes}]")
        if tuple(weights.shape) not in ((self.classes,), (1, self.classes), (groups, self.classes)):
            wanted = f"[{self.classes}] or [{groups},{self.classes}], classes and groups of images that share a draw"
            raise PartFailed(f"{self.name}: weights() gave shape {list(weights.shape)}; expected {wanted}")
        weights_GC = weights.detach().double().reshape(-1, self.classes)
        if weights_GC.device.type == "cpu" and not bool((torch.isfinite(weights_GC) & (weights_GC >= 0)).all()):
            given = ", ".join(f"{weight:g}" for weight in weights_GC[0].tolist())
            raise PartFailed(f"{self.name}: weights() gave {given}; each must be finite and at least 0")
        return torch.nan_to_num(weights_GC, nan=0.0, posinf=0.0, neginf=0.0).clamp_min(0)

    def observe(self, logits_BChw: Tensor, labels_BHW: Tensor, drop: Drop | None) -> None:
        """Let it learn from a step."""
        with own_code(self.name):
            self.part.observe(logits_BChw.detach(), labels_BHW, drop)

    def state_dict(self) -> dict[str, object]:
        """What later draws depend on; raises `PartFailed` where a checkpoint could not hold it."""
        with own_code(self.name):
            state = self.part.state_dict()
        if not isinstance(state, dict):
            raise PartFailed(f"{self.name}: state_dict() gave a {type(state).__name__}, not a dictionary")
        _check_plain(state, self.name, "state_dict()")
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict``."""
        with own_code(self.name):
            self.part.load_state_dict(state)


def _check_plain(value: object, name: str, where: str) -> None:
    """Refuse what ``torch.load`` does not read with ``weights_only``."""
    if isinstance(value, dict):
        for key, child in value.items():
            _check_plain(child, name, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            _check_plain(child, name, f"{where}[{index}]")
    elif not (value is None or isinstance(value, Tensor) or type(value) in (bool, int, float, str)):
        rule = "a checkpoint holds tensors, numbers, texts, lists and dictionaries"
        raise PartFailed(f"{name}: {where} is a {type(value).__name__}; {rule}")
