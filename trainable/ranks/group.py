"""Sums, gathers and shares over the ranks of a trial; in a trial of one process each gives back what it was given.

The ranks are the processes of torch.distributed's default group: a trial runs on several where it is initialised. All
ranks call these functions in the same order.

Every rank holds the whole loss of the global batch, and differentiates it by its own images alone: a sum over ranks
passes its gradient on as it is, a gather passes on the part of this rank's rows, and neither communicates in the
backward pass. So the gradient of a weight is the sum of its gradients on the ranks, which ``gradients`` takes.

Shapes: B images of this rank.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> int:
    """How many ranks train this trial; 1 without a group."""
    return dist.get_world_size() if _is_initialised() else 1


def rank() -> int:
    """The number of this process among them, from 0."""
    return dist.get_rank() if _is_initialised() else 0


def own(count: int) -> slice:
    """This rank's part of so many items, the ranks' parts in their order; of equal length where the ranks divide it."""
    ranks, this = world(), rank()
    return slice(count * this // ranks, count * (this + 1) // ranks)


def summed(values: Tensor) -> Tensor:
    """The sum over ranks, the same bits on all of them; its gradient by this rank's values is 1."""
    total: Tensor = values if world() == 1 else _Sum.apply(values)
    return total


def gathered(values_B: Tensor) -> Tensor:
    """The rows of all ranks in their order, equally many of each; gradients lead to this rank's rows alone."""
    rows: Tensor = values_B if world() == 1 else _Gather.apply(values_B)
    return rows


def placed(values_B: Tensor, rows: int) -> Tensor:
    """Rows of which each rank holds its ``own`` part, which may be empty, as ``gathered``; without gradients."""
    if world() == 1:
        return values_B
    all_values = values_B.new_zeros((rows, *values_B.shape[1:]))
    all_values[own(rows)] = values_B
    dist.all_reduce(all_values)  # others are 0 there, so that a value keeps its bits and NaN stays NaN
    return all_values


def _is_initialised() -> bool:
    return dist.is_available() and dist.is_initialized()


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        total = values.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, *upstream: Any) -> Any:
        return upstream[0]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values_B: Tensor) -> Tensor:
        ctx.rows = len(values_B)
        source = values_B.detach().contiguous()
        parts = [torch.empty_like(source) for _ in range(world())]
        if source.dtype == torch.bool:
            dist.all_gather([part.view(torch.uint8) for part in parts], source.view(torch.uint8))
        else:
            dist.all_gather(parts, source)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        first = rank() * ctx.rows
        return upstream[0][first : first + ctx.rows]
