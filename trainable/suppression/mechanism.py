"""How a map's channels change when classes are suppressed: one linear map of the channels, never a second feature map.

Each mechanism turns the importance S of channels to classes and the keep mask m into a scale per channel or a
projection. Both are folded into the weight of the block's 1x1 convolution: Conv1x1(A * g) == Conv1x1 with its weight
scaled by g along the input channels, and Conv1x1(P A) == Conv1x1 with weight W P.

Shapes: C classes, K channels, G groups that share a draw (1: the batch, or B: one per image).
"""

from typing import TypeAlias, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor

from trainable.suppression.config import GateNorm
from trainable.suppression.drop import Drop
from trainable.suppression.mechanism_sections import Gate, Hard, Projection, RandomChannels
from trainable.suppression.own_mechanism import OwnMechanism

Applied: TypeAlias = Gate | Hard | Projection | RandomChannels | OwnMechanism
"""A mechanism as a block applies it: the section of a built-in one says all."""


def effective_weight(
    weight_OK: Tensor, importance_CK: Tensor, drop: Drop | None, mechanism: Applied, norm: GateNorm
) -> Tensor:
    """The 1x1 convolution's weight with the mechanism folded in: [O,K], or [G,O,K] where groups differ.

    Without a drop m = 1. ``norm`` is that of the gate; the others have none.
    """
    keep_GC = None if drop is None else drop.keep_GC.to(importance_CK.dtype)
    match mechanism:
        case Gate():
            return _scaled(weight_OK, gates(importance_CK, keep_GC, norm))
        case RandomChannels():
            seed = 0 if drop is None else drop.seed
            return _scaled(weight_OK, random_gates(importance_CK, keep_GC, norm, seed))
        case Hard():
            return weight_OK if keep_GC is None else _scaled(weight_OK, hard_mask(importance_CK, keep_GC, mechanism.q))
        case Projection():
            return weight_OK if keep_GC is None else _one_or_more(projected(weight_OK, importance_CK, keep_GC))
        case OwnMechanism():
            return mechanism.folded(weight_OK, importance_CK, drop)
        case _:
            assert_never(mechanism)


def gates(importance_CK: Tensor, keep_GC: Tensor | None, norm: GateNorm) -> Tensor:
    """g_k = sum_c ReLU(m_c S_ck) / sum_c m_c, shape [G,K]; [1,K] for m = 1.

    ``norm="mean"`` divides by the mean over channels, so that the gate starts at the scale of the feature map; a gate
    of zeros stays zero. m is 0 or 1, so ReLU(m S) = m ReLU(S).
    """
    positive_CK = F.relu(importance_CK)
    if keep_GC is None:
        gate_GK = positive_CK.mean(dim=0, keepdim=True)
    else:
        gate_GK = keep_GC @ positive_CK / keep_GC.sum(dim=1, keepdim=True)
    match norm:
        case "none":
            return gate_GK
        case "mean":
            return gate_GK / gate_GK.mean(dim=1, keepdim=True).clamp_min(torch.finfo(gate_GK.dtype).tiny)
        case _:
            assert_never(norm)


def random_gates(importance_CK: Tensor, keep_GC: Tensor | None, norm: GateNorm, seed: int) -> Tensor:
    """The gate of m = 1, changed by the factors g(m) / g(1) of the real gate, but on permuted channels; [G,K].

    The factors are the suppression that a channel sees, so the control removes as much, in random places. A channel
    whose gate is closed under m = 1 has the factor 1.
    """
    full_1K = gates(importance_CK, None, norm)
    if keep_GC is None:
        return full_1K
    open_1K = full_1K > 0
    factor_GK = torch.where(open_1K, gates(importance_CK, keep_GC, norm) / torch.where(open_1K, full_1K, 1), 1)
    order_K = torch.randperm(importance_CK.shape[1], generator=torch.Generator().manual_seed(seed))
    return full_1K * factor_GK[:, order_K.to(factor_GK.device, non_blocking=True)]


def hard_mask(importance_CK: Tensor, keep_GC: Tensor, q: float) -> Tensor:
    """0 for the ``q`` of the channels that are most important to a suppressed class, 1 for the others; [G,K]."""
    channels = importance_CK.shape[1]
    count = min(channels, max(1, round(q * channels)))
    top_CN = importance_CK.detach().topk(count, dim=1).indices
    top_CK = torch.zeros_like(importance_CK).scatter_(1, top_CN, 1)
    return ((1 - keep_GC) @ top_CK == 0).to(importance_CK.dtype)


def projected(weight_OK: Tensor, importance_CK: Tensor, keep_GC: Tensor) -> Tensor:
    """W P [G,O,K] with P the projection onto what is orthogonal to the suppressed classes' rows of S.

    A class of importance zero has no direction and changes nothing. Dependent directions are removed up to rounding.
    """
    directions_CK = importance_CK.double()  # the normal equations square the condition of nearly parallel directions
    length_C1 = directions_CK.norm(dim=1, keepdim=True)
    unit_CK = directions_CK / torch.where(length_C1 > 0, length_C1, 1)
    used_GC = (1 - keep_GC.double()) * (length_C1[:, 0] > 0)
    rows_GCK = used_GC[:, :, None] * unit_CK
    # P = 1 - D^T (D D^T)^-1 D; unused rows of D are zero and get 1 on the diagonal, so that the system has a solution
    gram_GCC = rows_GCK @ rows_GCK.mT + torch.diag_embed(1 - used_GC)
    ridge_CC = 4 * torch.finfo(torch.double).eps * torch.eye(gram_GCC.shape[-1], device=gram_GCC.device)
    # solve_ex does not wait for the GPU as solve does
    solved_GCK: Tensor = torch.linalg.solve_ex(gram_GCC + ridge_CC, rows_GCK).result
    along_GOC: Tensor = weight_OK.double() @ rows_GCK.mT
    return weight_OK - (along_GOC @ solved_GCK).to(weight_OK.dtype)


def _scaled(weight_OK: Tensor, scale_GK: Tensor) -> Tensor:
    return _one_or_more(weight_OK[None] * scale_GK[:, None, :])


def _one_or_more(weight_GOK: Tensor) -> Tensor:
    return weight_GOK[0] if len(weight_GOK) == 1 else weight_GOK
