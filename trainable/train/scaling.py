"""Scaled gradients of float16: what is too small for it, as most gradients are, would be zero.

The loss is multiplied by a scale and the gradients are divided by it again before the optimizer uses them. Where one
has overflowed the step changes nothing and the scale is halved; after 2,000 steps in a row without it is doubled
(torch's ``GradScaler``). Fused optimizers are told on the GPU, so nothing waits for it, and nothing here knows whether
a step was taken. That is why the schedule counts every step: it is one of the batches seen, T in all, and reaches its
end as in any other precision. AdamW's own count of steps, for its bias, holds those taken alone.
"""

import torch
from torch import Tensor, nn, optim

from trainable.train.compute import Compute


def build_scaler(compute: Compute, optimizer: optim.Optimizer) -> torch.amp.GradScaler | None:
    """A scaler where the trial computes in float16; None elsewhere."""
    if compute.precision != "fp16":
        return None
    for group in optimizer.param_groups:
        if group.get("momentum"):  # torch's fused SGD leaves them as malloc did where its first step is skipped
            for weights in group["params"]:
                optimizer.state[weights]["momentum_buffer"] = torch.zeros_like(weights)
    return torch.amp.GradScaler(compute.device.type)


def backward(loss: Tensor, scaler: torch.amp.GradScaler | None) -> None:
    """Add the gradients of a loss to those that are there, scaled where there is a scaler."""
    torch.autograd.backward(loss if scaler is None else scaler.scale(loss))


def update_weights(
    model: nn.Module, optimizer: optim.Optimizer, scaler: torch.amp.GradScaler | None, clip_norm: float | None
) -> None:
    """Take an optimizer step by the gradients, which are clipped at their true length."""
    if clip_norm is not None:
        if scaler is not None:
            scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    if scaler is None:
        optimizer.step()
    else:
        scaler.step(optimizer)
        scaler.update()
