"""The card and what it can do at best: the ceilings that other figures are read against."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator

import torch

from gpu_sections.trials import Row, device, step_times

PACKAGES = ("torchvision", "segmentation", "timm", "numpy", "pyarrow", "pillow", "pydantic")
CARD = "name,driver_version,memory.total,power.limit"


def measure(tiny: bool) -> Iterator[Row]:
    """Yield names and versions, then rates."""
    yield _named("python, cores", f"{platform.python_version()}, {len(os.sched_getaffinity(0))}")
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    yield _named("torch, CUDA, cuDNN", f"{torch.__version__}, {torch.version.cuda}, {cudnn}")
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True
    ).stdout
    yield _named("packages", ", ".join(line for line in listed.split() if line.lower().startswith(PACKAGES)))
    yield from _rates(256 if tiny else 8192)
    if device().type == "cuda":
        properties = torch.cuda.get_device_properties(0)
        yield _named("capability", f"{properties.major}.{properties.minor}")
        yield _named("multiprocessors", properties.multi_processor_count)
        yield _named("TF32 in matmul", str(torch.backends.cuda.matmul.allow_tf32))
        yield _named("TF32 in convolutions", str(torch.backends.cudnn.allow_tf32))
        command = ["nvidia-smi", f"--query-gpu={CARD}", "--format=csv,noheader"]
        yield _named(CARD, subprocess.run(command, capture_output=True, text=True).stdout.strip())


def _named(what: str, value: str | float) -> Row:
    return {"machine": what, "value": value}


def _rates(side: int) -> Iterator[Row]:
    for dtype in (torch.bfloat16, torch.float32):
        first, second = (torch.randn(side, side, device=device(), dtype=dtype) for _ in range(2))
        rate = 2 * side**3 / _median(lambda a=first, b=second: torch.mm(a, b)) / 1e9  # type: ignore[misc]
        yield _named(f"matmul {side} {dtype}, TFLOP/s", rate)
    source = torch.randint(256, (side * side * 4,), dtype=torch.uint8, device=device())
    target, host = torch.empty_like(source), source.cpu()
    gigabytes = len(source) / 1e6
    yield _named("copy on the device, GB/s read and written", 2 * gigabytes / _median(lambda: target.copy_(source)))
    yield _named("copy to the device, GB/s", gigabytes / _median(lambda: target.copy_(host)))
    if device().type == "cuda":
        pinned = host.pin_memory()
        rate = gigabytes / _median(lambda: target.copy_(pinned, non_blocking=True))
        yield _named("copy to the device from pinned memory, GB/s", rate)
    one = torch.ones(1, device=device())
    yield _named("launch of a kernel, us", step_times(lambda: one.add_(1), 1000)[1] * 1e3)


def _median(work: Callable[[], object]) -> float:
    """Milliseconds."""
    step_times(work, 3)
    return sorted(step_times(work, 5)[0] for _ in range(5))[2]
