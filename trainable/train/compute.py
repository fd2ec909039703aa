"""Where and in which precision a trial computes.

bf16 and fp16 are torch's autocast: weights and optimizer stay in float32, and the losses. fp16 is for GPUs without
bfloat16 units (compute capability below 8: V100, T4, RTX 20); its gradients are scaled (``trainable.train.scaling``).

Feature maps and weights are ``channels_last`` everywhere: needed for bfloat16 on a GPU's tensor cores, and measured 10
to 30 % faster per training step on a CPU too (most smp architectures, float32; deeplabv3plus alone was slower).

Shapes: B batch, H W image.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from trainable.failure import TrialFailed
from trainable.optim.config import Precision

BFLOAT16_FROM = 8
"""Compute capability of the first GPUs with bfloat16 units, Ampere; older ones emulate it, slowly."""


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
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the forward pass; decided, where the trial says auto."""
    normalization: Normalization = IMAGENET
    """``trainable.model.input_statistics`` knows that of an encoder."""

    def autocast(self) -> torch.autocast:
        """Context of a forward pass."""
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.precision != "fp32")

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


def choose_compute(device: str | None, precision: Precision) -> Compute:
    """Compute on ``device``; None takes a GPU if there is one.

    ``auto`` is bf16 on a GPU that has units for it, fp16 on another GPU, and fp32 elsewhere.

    Raises:
        TrialFailed: the GPU has no units for bf16.
    """
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if chosen.type != "cuda":
        return Compute(chosen, "fp32" if precision == "auto" else precision)
    native = _has_bfloat16(chosen)
    if precision == "bf16" and not native:
        major, minor = torch.cuda.get_device_capability(chosen)
        name = f"{torch.cuda.get_device_name(chosen)} (compute capability {major}.{minor})"
        raise TrialFailed(f"train.precision: bf16 needs compute capability 8.0, got {name}; use fp16 or auto")
    if precision == "auto":
        return Compute(chosen, "bf16" if native else "fp16")
    return Compute(chosen, precision)


def _has_bfloat16(device: torch.device) -> bool:
    """Whether a GPU multiplies in bfloat16 without emulation; AMD's all do, whatever their capability says."""
    return torch.version.hip is not None or torch.cuda.get_device_capability(device)[0] >= BFLOAT16_FROM


@contextmanager
def tf32_convolutions(allowed: bool) -> Iterator[None]:
    """Let convolutions in float32 use a GPU's TF32 units, or not, as long as the context lasts."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def full_precision(values: Tensor) -> Tensor:
    """Values in float32 at least: bfloat16 would tie classes and lose small losses."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
