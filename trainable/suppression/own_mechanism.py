"""A mechanism of one's own in a block: its code is called and what it gives is checked, each step.

Shapes: C classes, K and O channels, G groups that share a draw.
"""

from typing import Self

import torch
from torch import Tensor, nn

from trainable.parts.loading import PartFailed, build, own_code
from trainable.parts.mechanism import Mechanism
from trainable.parts.section import OwnPart
from trainable.suppression.drop import Drop

CHECK_EVERY_ON_GPU = 50
"""Calls between two looks at the values on a GPU, each of which waits for it; on a CPU every call is checked."""


class OwnMechanism(nn.Module):
    """Folds what `Mechanism.channels` gives into the weight of the block's convolution."""

    def __init__(self, name: str, part: Mechanism, channels: int, classes: int) -> None:
        """Begin with a map of ``channels``; raises `PartFailed`."""
        super().__init__()
        self.name, self.part = name, part
        self.calls = 0
        with own_code(self.name):
            self.part.begin(channels, classes)

    @classmethod
    def of(cls, section: OwnPart, channels: int, classes: int) -> Self:
        """Make the mechanism that a section names; raises `PartFailed`."""
        return cls(section.name, build(section, Mechanism), channels, classes)

    def folded(self, weight_OK: Tensor, importance_CK: Tensor, drop: Drop | None) -> Tensor:
        """The weight [O,K], or [G,O,K] where groups differ, behind the mechanism; None: m = 1. Raises `PartFailed`."""
        keep_GC = None if drop is None else drop.keep_GC.to(importance_CK.dtype)
        with own_code(self.name):
            factor = self.part.channels(importance_CK, keep_GC, 0 if drop is None else drop.seed)
        groups = 1 if keep_GC is None else len(keep_GC)
        self._check(factor, groups, importance_CK.shape[1])
        factor = factor.to(device=weight_OK.device, dtype=weight_OK.dtype)
        weight_GOK = weight_OK[None] * factor[:, None, :] if factor.ndim == 2 else weight_OK[None] @ factor
        return weight_GOK[0] if groups == 1 else weight_GOK

    def _check(self, factor: object, groups: int, channels: int) -> None:
        wanted = f"[{groups},{channels}] or [{groups},{channels},{channels}]"
        if not isinstance(factor, Tensor):
            raise PartFailed(f"{self.name}: channels() gave a {type(factor).__name__}, not a tensor {wanted}")
        if tuple(factor.shape) not in ((groups, channels), (groups, channels, channels)):
            raise PartFailed(f"{self.name}: channels() gave shape {list(factor.shape)}; expected {wanted}")
        if not factor.is_floating_point():
            raise PartFailed(f"{self.name}: channels() gave {factor.dtype}; expected a float type")
        self.calls += 1
        looks = factor.device.type == "cpu" or self.calls % CHECK_EVERY_ON_GPU == 1
        if looks and not bool(torch.isfinite(factor).all()):
            raise PartFailed(f"{self.name}: channels() gave values that are not finite")
