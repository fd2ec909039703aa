"""What a trial's machine does during an epoch: the host's processors, the worker's memory, the trial's own GPUs.

The GPUs are those of ``CUDA_VISIBLE_DEVICES``, by index, UUID or MIG UUID; without it the first one, which is CUDA's
default. Indices are those of the NVIDIA driver (PCI order): on a node with GPUs of several models CUDA counts alike
only with ``CUDA_DEVICE_ORDER=PCI_BUS_ID``. What a GPU does not tell (a MIG slice its utilisation) is left out. Figures
of a GPU that several trials share are those of the whole GPU.
"""

import os
import platform
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from statistics import fmean

import psutil
import pynvml

from trainable.evaluate.metrics.names import CPU_PERCENT, GPU_MEMORY, GPU_POWER, GPU_UTILIZATION, RSS

EVERY_SECONDS = 1.0
LONGEST_SAMPLE_S = 2.0
"""Longest wait for a sample in flight at the end of an epoch: a driver that hangs must not stop a trial."""

Samples = dict[str, list[float]]

_OF_GPU: Mapping[str, tuple[Callable[[object], float], Callable[[Sequence[float]], float]]] = {
    GPU_UTILIZATION: (lambda gpu: float(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu), fmean),
    GPU_MEMORY: (lambda gpu: float(pynvml.nvmlDeviceGetMemoryInfo(gpu).used), sum),
    GPU_POWER: (lambda gpu: pynvml.nvmlDeviceGetPowerUsage(gpu) / 1000, sum),  # NVML counts milliwatts
}
"""How a figure of one GPU is read, and what it is for several."""
_OVER_TIME: Mapping[str, Callable[[Sequence[float]], float]] = {
    GPU_UTILIZATION: fmean, GPU_MEMORY: max, GPU_POWER: fmean, RSS: max,
}  # fmt: skip


class MachineMeter:
    """Figures of each epoch, by the names of ``metrics.names``; sampled by a thread that never fails a trial.

    Args:
        every_s: Seconds between two samples; an epoch has two at least.
    """

    def __init__(self, every_s: float = EVERY_SECONDS) -> None:
        self._every_s = every_s
        self._process = psutil.Process()
        self._gpus = visible_gpus()

    @contextmanager
    def epoch(self) -> Iterator[dict[str, float]]:
        """Measure the block; the mapping is filled when it ends."""
        samples: Samples = {}
        ended = threading.Event()
        sampler = threading.Thread(target=self._sample, args=(samples, ended), name="machine", daemon=True)
        figures: dict[str, float] = {}
        psutil.cpu_percent(interval=None)  # of this thread: the next call tells the mean since this one
        sampler.start()
        try:
            yield figures
        finally:
            ended.set()
            sampler.join(LONGEST_SAMPLE_S)
        figures[CPU_PERCENT] = psutil.cpu_percent(interval=None)
        figures |= {name: _OVER_TIME[name](values) for name, values in dict(samples).items()}

    def _sample(self, samples: Samples, ended: threading.Event) -> None:
        while True:
            last = ended.is_set()
            for name, value in self._now().items():
                samples.setdefault(name, []).append(value)
            if last:
                return
            ended.wait(self._every_s)

    def _now(self) -> dict[str, float]:
        now = {RSS: float(self._process.memory_info().rss)}
        for name, (read, together) in _OF_GPU.items():
            try:
                values = [read(gpu) for gpu in self._gpus]
            except pynvml.NVMLError:
                continue
            if values:
                now[name] = together(values)
        return now


def visible_gpus() -> list[object]:
    """NVML's handles of the GPUs that this process may use; none where there is no NVIDIA driver."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")
    gpus: list[object] = []
    try:
        pynvml.nvmlInit()
        for name in map(str.strip, names):
            gpu = _gpu(name)
            if gpu is None:  # CUDA too ignores whatever follows one that it does not know
                break
            gpus.append(gpu)
    except pynvml.NVMLError:
        pass
    return gpus


@cache
def cpu_name() -> str:
    """The processor's model and the cores that this process may use: ``AMD EPYC 7763 64-Core Processor, 8 cores``."""
    model = platform.processor() or platform.machine()
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{model}, {cores} core{'' if cores == 1 else 's'}"


def gpu_names() -> str:
    """Names of the GPUs that this process may use; empty where there is none."""
    try:
        return ", ".join(str(pynvml.nvmlDeviceGetName(gpu)) for gpu in visible_gpus())
    except pynvml.NVMLError:
        return ""


def _gpu(name: str) -> object:
    """Handle of a GPU as ``CUDA_VISIBLE_DEVICES`` names it; None for what names none."""
    if name.isdecimal():
        return pynvml.nvmlDeviceGetHandleByIndex(int(name))
    if name.startswith("MIG-"):
        return pynvml.nvmlDeviceGetHandleByUUID(name)
    if name.startswith("GPU-"):  # the beginning of a UUID is enough for CUDA
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        return next((gpu for gpu in handles if str(pynvml.nvmlDeviceGetUUID(gpu)).startswith(name)), None)
    return None
