"""Where and in which precision a trial computes.

Feature maps and weights are ``channels_last`` everywhere: needed for bfloat16 on a GPU's tensor cores, and measured 10
to 30 % faster per training step on a CPU too (most smp architectures, float32; deeplabv3plus alone was slower).

Shapes: B batch, H W image.
"""

import gc
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Normalization:
    """What a network's input is normalised by, per channel of RGB in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Of ImageNet's images."""


@dataclass(frozen=True)
class Compute:
    """Device, autocast and input of a trial."""

    device: torch.device
    bfloat16: bool
    normalization: Normalization = IMAGENET
    """``trainable.model.input_statistics`` knows that of an encoder."""

    def autocast(self) -> torch.autocast:
        """Context of a forward pass."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16)

    def network_input(self, images_B3HW: Tensor) -> Tensor:
        """Network input float32 [B,3,H,W] from bytes, normalised."""
        mean_311, std_311 = self._statistics
        scaled_B3HW = images_B3HW.to(torch.float32, memory_format=torch.channels_last).div_(255)
        return scaled_B3HW.sub_(mean_311).div_(std_311)

    def levels(self, count: float) -> Tensor:
        """So many of 255 levels of brightness as the network's input has them, [3,1,1]."""
        return count / 255 / self._statistics[1]

    @cached_property
    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation [3,1,1], made once: each time they are made the GPU is waited for."""
        mean_311, std_311 = torch.tensor((self.normalization.mean, self.normalization.std), device=self.device).view(
            2, 3, 1, 1
        )
        return mean_311, std_311

    def release(self) -> None:
        """Return the memory of tensors that nothing refers to any more to the GPU."""
        if self.device.type == "cuda":
            gc.collect()  # a model's modules and hooks refer to each other in cycles
            torch.cuda.empty_cache()


def choose_compute(device: str | None, precision: Literal["auto", "fp32"]) -> Compute:
    """Compute on ``device``; None takes a GPU if there is one. ``auto`` is bfloat16 on a GPU."""
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return Compute(chosen, bfloat16=precision == "auto" and chosen.type == "cuda")


def full_precision(values: Tensor) -> Tensor:
    """Values in float32 at least: bfloat16 would tie classes and lose small losses."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
