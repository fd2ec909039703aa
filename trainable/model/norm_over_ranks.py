"""Batch norm whose statistics are those of the global batch: one seam for GPUs and CPUs.

A norm stays the module that it is, with its weights, statistics, names and hooks; what changes is its class, and back
(``of_one_process``, for what leaves the trial). On a GPU it becomes torch's SyncBatchNorm, which refuses CPUs; on a CPU
the one below, of the same formula. Both are an ordinary batch norm where they do not train.

Shapes: B images of this rank, C channels, R ranks; maps are [B,C,...].
"""

from functools import lru_cache
from typing import Any

import torch
import torch.distributed as dist
from timm.layers.norm_act import BatchNormAct2d, SyncBatchNormAct
from torch import Tensor, nn

from trainable.model.encoders import ModelError
from trainable.ranks.group import gathered, world

_BatchNorm = nn.modules.batchnorm._BatchNorm


def over_ranks(network: nn.Module, compiled: bool = False) -> None:
    """Let every batch norm of a network see the global batch; nothing changes in a trial of one process.

    Call it once the network lies on its device, and before it is ``compiled``: no collective is worth a graph.

    Raises:
        ModelError: a batch norm that normalises in a way of its own, with its name.
    """
    if world() == 1:
        return
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm):
            kind: Any = type(module)
            if kind.forward not in (_BatchNorm.forward, BatchNormAct2d.forward):
                raise ModelError(f"model.encoder: several ranks cannot share its {kind.__name__} ({name})")
            on_gpu = any(tensor.is_cuda for tensor in (*module.parameters(), *module.buffers()))
            module.kind_of_one_process, module.process_group = kind, None  # type: ignore[assignment]
            module.__class__ = _on_gpu(kind) if on_gpu else _on_cpu(kind, compiled)


def of_one_process(network: nn.Module) -> None:
    """Undo ``over_ranks``, in a copy that leaves the trial for instance."""
    for module in network.modules():
        kind = module.__dict__.pop("kind_of_one_process", None)
        if kind is not None:
            module.__class__ = kind
            del module.process_group


def _on_gpu(kind: Any) -> Any:
    """What ``convert_sync_batchnorm`` of timm makes of a module, and torch's of one without an activation."""
    return SyncBatchNormAct if issubclass(kind, BatchNormAct2d) else nn.SyncBatchNorm


@lru_cache
def _on_cpu(kind: Any, compiled: bool) -> Any:
    methods: dict[str, Any] = {}
    if compiled:  # no decorator, which would import the compiler
        methods["forward"] = torch.compiler.disable(_OverRanks.forward)  # type: ignore[no-untyped-call]
    return type(f"{kind.__name__}OverRanks", (_OverRanks, kind), methods)


class _OverRanks(_BatchNorm):
    """Normalises by the statistics of all ranks while it trains."""

    def forward(self, maps: Tensor) -> Tensor:
        if not self.training:
            normal: Tensor = super().forward(maps)
            return normal
        self._check_input_dim(maps)  # type: ignore[no-untyped-call]
        normal, mean_C, variance_C, count = _Normalised.apply(maps, self.weight, self.bias, self.eps)
        if self.track_running_stats:
            self._note(mean_C, variance_C, int(count))
        return self.act(self.drop(normal)) if isinstance(self, BatchNormAct2d) else normal

    @torch.no_grad()
    def _note(self, mean_C: Tensor, variance_C: Tensor, count: int) -> None:
        """Move the running statistics, the variance without bias."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased_C = variance_C * (count / max(1, count - 1))
        for running_C, new_C in ((self.running_mean, mean_C), (self.running_var, unbiased_C)):
            running_C.mul_(1 - share).add_(new_C.to(running_C.dtype), alpha=share)


class _Normalised(torch.autograd.Function):
    """Maps normalised by the mean and variance of all ranks; one gather on the way there, one sum on the way back."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float) -> Any:
        mean_C, variance_C, count = _statistics(maps)
        inverse_C = torch.rsqrt(variance_C + eps).to(maps.dtype)
        mean_C = mean_C.to(maps.dtype)
        scale_C = inverse_C if weight_C is None else inverse_C * weight_C
        shift_C = -mean_C * scale_C if bias_C is None else bias_C - mean_C * scale_C
        ctx.save_for_backward(maps, weight_C, mean_C, inverse_C)
        ctx.count = count
        count_of_all = torch.tensor(count)
        ctx.mark_non_differentiable(mean_C, variance_C, count_of_all)
        normal = (maps * _per_channel(scale_C, maps)).add_(_per_channel(shift_C, maps))  # keeps the layout of the maps
        return normal, mean_C, variance_C, count_of_all

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        maps, weight_C, mean_C, inverse_C = ctx.saved_tensors
        gradient = upstream[0]
        whitened = (maps - _per_channel(mean_C, maps)).mul_(_per_channel(inverse_C, maps))
        others = [d for d in range(maps.ndim) if d != 1]
        here_2C = torch.stack([gradient.sum(dim=others), (gradient * whitened).sum(dim=others)])
        of_bias_C, of_weight_C = here_2C
        of_weight_C, of_bias_C = (
            g if n else None for g, n in zip((of_weight_C, of_bias_C), ctx.needs_input_grad[1:3], strict=True)
        )
        if not ctx.needs_input_grad[0]:
            return None, of_weight_C, of_bias_C, None
        all_2C = here_2C.clone()
        dist.all_reduce(all_2C)
        mean_gradient_C, mean_along_C = all_2C / ctx.count
        along = whitened.mul_(_per_channel(mean_along_C, maps))
        scale_C = inverse_C if weight_C is None else inverse_C * weight_C
        of_maps = (gradient - _per_channel(mean_gradient_C, maps)).sub_(along).mul_(_per_channel(scale_C, maps))
        return of_maps, of_weight_C, of_bias_C, None


def _statistics(maps: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean and variance float64 [C] over the pixels of all ranks, and how many pixels of a channel these are."""
    others = [d for d in range(maps.ndim) if d != 1]
    variance_C, mean_C = torch.var_mean(maps, dim=others, correction=0)
    pixels_C = torch.full_like(mean_C, maps.numel() // maps.shape[1])
    pixels_RC, mean_RC, variance_RC = gathered(torch.stack([pixels_C, mean_C, variance_C])[None].double()).unbind(dim=1)
    total_C = pixels_RC.sum(dim=0)
    share_RC = pixels_RC / total_C
    mean_C = (share_RC * mean_RC).sum(dim=0)
    variance_C = (share_RC * (variance_RC + (mean_RC - mean_C) ** 2)).sum(dim=0)
    return mean_C, variance_C, int(total_C[0])


def _per_channel(values_C: Tensor, maps: Tensor) -> Tensor:
    return values_C.view(-1, *[1] * (maps.ndim - 2))
