"""Every call about a GPU's memory, for the one GPU that a process trains on. Without a GPU nothing is done or measured.

A cap limits what torch's allocator of this process holds. The CUDA context of a process (kernels, cuDNN, cuBLAS) lies
outside of it, once per process, so a process that may take a share of a GPU gets the share less its context.
"""

import os
import re

import torch

from trainable.failure import MemoryUse, OutOfMemory, TrialFailed

CONTEXT_BYTES = 640 * 2**20
"""Reserved for a process's CUDA context: about 0.5 GB on recent cards, and it grows as kernels are loaded."""
SLACK_BYTES = 128 * 2**20
"""As much may be missing on a GPU of what a process may still take before others count as having it."""
ADVICE = "lower train.batch_size or data.size, or set train.memory: recompute"
_ASKED = re.compile(r"Tried to allocate ([\d.]+) (GiB|MiB|KiB|bytes)")
_UNITS = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "bytes": 1}
_ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")


def prefer_expandable_segments() -> None:
    """Let the allocator grow its segments, which leaves few holes under a cap; unless the user has set it up.

    Acts on a process that has not used its GPU yet.
    """
    if not any(os.environ.get(name) for name in _ALLOCATOR_VARIABLES):
        os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"


def total_bytes() -> int | None:
    """What the GPU has, or its MIG slice; None without a GPU."""
    return int(torch.cuda.mem_get_info()[1]) if torch.cuda.is_available() else None


def set_share(share: float) -> None:
    """Let this process take a share of its GPU, CUDA context included; a whole one or more is no limit.

    An actor runs trials of different shares one after the other: each sets its own.

    Raises:
        TrialFailed: the share holds no more than the context.
    """
    total = total_bytes()
    if total is None:
        return
    if share >= 1:
        torch.cuda.set_per_process_memory_fraction(1.0)
        return
    fraction = share - CONTEXT_BYTES / total
    if fraction <= 0:
        least = CONTEXT_BYTES / total
        raise TrialFailed(
            f"resources.gpu: {share:g} of a GPU of {total / 2**30:.1f} GiB holds no more than a CUDA context, "
            f"{CONTEXT_BYTES / 2**30:.2f} GiB; give it more than {least:.2f}"
        )
    torch.cuda.set_per_process_memory_fraction(fraction)


def reset_peak() -> None:
    """Begin to watch the peak anew."""
    if _in_use():
        torch.cuda.reset_peak_memory_stats()


def peak_bytes() -> int | None:
    """The most that this process's tensors held since ``reset_peak``; None where no GPU is in use."""
    if _in_use():
        return int(torch.cuda.max_memory_allocated())
    return None


def memory_use(error: BaseException) -> MemoryUse | None:
    """The memory at an out-of-memory error that was just raised; None where no GPU is in use."""
    if not _in_use():
        return None
    free, total = map(int, torch.cuda.mem_get_info())
    fraction = torch.cuda.get_per_process_memory_fraction()
    cap = min(int(fraction * total), total - CONTEXT_BYTES)
    reserved, allocated = int(torch.cuda.memory_reserved()), int(torch.cuda.memory_allocated())
    asked = _asked(error)
    peak = max(allocated + asked, int(torch.cuda.max_memory_allocated()))
    return MemoryUse(peak, cap, free, total, by_others=took_others(reserved, asked, cap, free))


def took_others(reserved: int, asked: int, cap: int, free: int) -> bool:
    """Whether a process that holds ``reserved`` and asked for more stayed within its cap: others hold the rest."""
    return reserved + asked <= cap and free + SLACK_BYTES < cap - reserved


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the GPU's memory is used up: torch's own, or that of a library that allocates."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    libraries = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(name in str(error) for name in libraries)


def out_of_memory(error: BaseException, where: str) -> OutOfMemory:
    """What to raise in place of torch's error, by what it found of the GPU."""
    return OutOfMemory(where, memory_use(error), ADVICE)


def _in_use() -> bool:
    return torch.cuda.is_available() and bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _asked(error: BaseException) -> int:
    """Bytes that the failed allocation asked for, as torch's message tells; 0 where it does not."""
    match = _ASKED.search(str(error))
    return int(float(match[1]) * _UNITS[match[2]]) if match else 0
