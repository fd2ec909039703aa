"""The gradient of the global batch on every rank: one sum over the ranks of what each has by its own images.

It belongs between the backward pass and whatever looks at gradients (clipping, the optimizer).
"""

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainable.ranks.group import world


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sum the gradients over the ranks, in one flat piece for each type of number.

    A weight without a gradient counts as zero where another rank has one, and stays without where none has: an
    optimizer leaves it as it is, its decay included. On a GPU, which would have to be waited for to tell, all ranks are
    taken to have gradients for the same weights, as they run the same steps.
    """
    if world() == 1:
        return
    by_kind: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
    for parameter in parameters:
        if parameter.requires_grad:
            by_kind.setdefault((parameter.dtype, parameter.device), []).append(parameter)
    for alike in by_kind.values():
        _sum(alike)


@torch.no_grad()
def _sum(parameters: Sequence[nn.Parameter]) -> None:
    missing = [parameter.grad is None for parameter in parameters]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    here = gradients[0].new_tensor([float(not lacks) for lacks in missing])
    flat = torch.cat([here, *(gradient.flatten() for gradient in gradients)])
    dist.all_reduce(flat)
    ranks_with, *sums = torch.split(flat, [len(parameters), *(gradient.numel() for gradient in gradients)])
    torch._foreach_copy_(gradients, [total.view_as(gradient) for total, gradient in zip(sums, gradients, strict=True)])
    if any(missing):
        _give(parameters, gradients, missing, ranks_with)


def _give(
    parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor], missing: Sequence[bool], ranks_with: Tensor
) -> None:
    """The sum, to the weights that have a gradient on other ranks alone."""
    if ranks_with.device.type != "cpu":
        return
    for parameter, gradient, lacks, count in zip(parameters, gradients, missing, ranks_with.tolist(), strict=True):
        if lacks and count:
            parameter.grad = gradient
