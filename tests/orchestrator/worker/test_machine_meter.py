"""Figures of the machine in an epoch: the trial's own GPUs and no other, whatever the driver does."""

# ruff: noqa: N802
import mmap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from orchestrator.plan.planner import Planner
from orchestrator.store.records import Store
from orchestrator.studyfile import Study
from orchestrator.worker import machine_meter as machine
from orchestrator.worker.attempt import Attempt
from orchestrator.worker.job import Job
from orchestrator.worker.machine_meter import MachineMeter, visible_gpus
from trainable.evaluate.metrics.names import CPU_PERCENT, GPU_MEMORY, GPU_POWER, GPU_UTILIZATION, RSS, repeats

OF_GPU = {GPU_UTILIZATION, GPU_MEMORY, GPU_POWER}
UUIDS = ("GPU-aaaa-0", "GPU-aabb-1", "GPU-cccc-2")


class NVMLError(Exception):
    pass


class Driver:
    """NVML with three GPUs; a handle is the position, or the name of a MIG slice."""

    NVMLError = NVMLError

    def __init__(self) -> None:
        self.unsupported: set[str] = set()
        self.hang: threading.Event | None = None
        self.memory = [10, 200, 3000]

    def nvmlInit(self) -> None:
        if "init" in self.unsupported:
            raise NVMLError("Driver Not Loaded")

    def nvmlDeviceGetCount(self) -> int:
        return len(UUIDS)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index >= len(UUIDS):
            raise NVMLError("Invalid Argument")
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        return uuid

    def nvmlDeviceGetUUID(self, gpu: int) -> str:
        return UUIDS[gpu]

    def nvmlDeviceGetName(self, gpu: int) -> str:
        if "name" in self.unsupported:
            raise NVMLError("Unknown Error")
        return f"H{gpu}00"

    def nvmlDeviceGetUtilizationRates(self, gpu: Any) -> SimpleNamespace:
        if self.hang:
            self.hang.wait()
        if "utilization" in self.unsupported:
            raise NVMLError("Not Supported")
        return SimpleNamespace(gpu=(0, 40, 80)[gpu])

    def nvmlDeviceGetMemoryInfo(self, gpu: Any) -> SimpleNamespace:
        return SimpleNamespace(used=self.memory[gpu] if isinstance(gpu, int) else 7)

    def nvmlDeviceGetPowerUsage(self, gpu: Any) -> int:
        return (50_000, 100_000, 300_500)[gpu]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    fake = Driver()
    monkeypatch.setattr(machine, "pynvml", fake)
    return fake


def measured(seconds: float = 0.0, every_s: float = 0.01) -> dict[str, float]:
    with MachineMeter(every_s).epoch() as figures:
        time.sleep(seconds)
    return figures


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("1", [1]),
        ("2,0", [2, 0]),
        (" 1 , 2 ", [1, 2]),
        ("GPU-cccc-2,GPU-aaaa-0", [2, 0]),
        ("GPU-aab", [1]),
        ("MIG-1234", ["MIG-1234"]),
        ("", []),
        ("-1", []),
        ("0,-1,2", [0]),
        ("GPU-dddd,1", []),
        ("0,7", [0]),
        ("NoDevFiles", []),
        (None, [0]),
    ],
)
def test_the_gpus_are_those_that_cuda_shows(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: list[object]
) -> None:
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_gpus() == expected


def test_without_a_driver_there_are_no_gpus(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    driver.unsupported.add("init")
    assert visible_gpus() == []
    assert set(measured()) == {CPU_PERCENT, RSS}


def test_several_gpus_are_added_up_but_for_their_utilisation(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    figures = measured()
    assert figures[GPU_UTILIZATION] == 60
    assert figures[GPU_MEMORY] == 3200
    assert figures[GPU_POWER] == pytest.approx(400.5)


def test_memory_is_the_largest_of_the_epoch_and_the_next_one_begins_anew(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    meter = MachineMeter(every_s=0.01)
    with meter.epoch() as first:
        driver.memory[0] = 5000
        time.sleep(0.2)
        driver.memory[0] = 20
    with meter.epoch() as second:
        pass
    assert (first[GPU_MEMORY], second[GPU_MEMORY]) == (5000, 20)


def test_what_a_gpu_does_not_tell_is_left_out(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    driver.unsupported.add("utilization")
    assert set(measured()) == {CPU_PERCENT, RSS, GPU_MEMORY, GPU_POWER}


def test_a_driver_that_hangs_stops_no_epoch(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(machine, "LONGEST_SAMPLE_S", 0.2)
    driver.hang = threading.Event()
    began = time.monotonic()
    assert CPU_PERCENT in measured()
    assert time.monotonic() - began < 5
    driver.hang.set()


def test_an_epoch_that_fails_leaves_no_thread(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ValueError, match="a bug"), MachineMeter(0.01).epoch():
        raise ValueError("a bug")
    assert "machine" not in {thread.name for thread in threading.enumerate()}


def test_the_worker_and_the_host_are_really_measured(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    before = psutil.Process().memory_info().rss
    with MachineMeter(0.02).epoch() as figures, mmap.mmap(-1, 64 << 20) as large:  # pages that were not there before
        large.write(bytes(64 << 20))
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            large[0] = (large[0] + 1) % 256
        time.sleep(0.05)
    assert figures[RSS] >= before + (60 << 20)
    assert 100 / (psutil.cpu_count() or 1) * 0.5 < figures[CPU_PERCENT] <= 100, "this process alone kept one core busy"


def test_no_figure_of_the_machine_is_compared_bit_for_bit() -> None:
    assert not any(map(repeats, (*OF_GPU, CPU_PERCENT, RSS, "epoch_seconds")))
    assert repeats("val/miou")


@pytest.mark.parametrize("asked", [True, False])
def test_an_attempt_adds_them_to_its_epochs_where_asked(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, study: Callable[..., Study], tmp_path: Path, asked: bool
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    store = Store(str(tmp_path), "s")
    planned = Planner(study("search.references=[]")).next()
    assert planned is not None
    store.plan(planned)
    attempt = Attempt(Job(planned, store.storage, "s", "x", "fake_fit:fit", system_metrics=asked))
    told = [attempt.next_epoch().metrics for _ in range(2)]
    attempt.close()
    (record,) = store.records()
    assert list(record.epochs) == told
    for metrics in told:
        assert {name for name in metrics if name.startswith("system/")} == (
            {*OF_GPU, CPU_PERCENT, RSS} if asked else set()
        )
        assert metrics.get(GPU_MEMORY) == (3000 if asked else None)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), False),
        (("resources.gpu=0.5",), True),
        (("resources.gpu=1", "tracking.system_metrics=false"), False),
        (("tracking.system_metrics=true",), True),
    ],
)
def test_by_default_trials_with_a_gpu_are_measured(
    study: Callable[..., Study], overrides: tuple[str, ...], expected: bool
) -> None:
    spec = study(*overrides).spec
    assert spec.tracking.measures_machine(spec.resources) is expected


def test_the_names_of_the_gpus(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    assert machine.gpu_names() == "H200, H000"
    driver.unsupported = {"name"}
    assert machine.gpu_names() == ""
    driver.unsupported = {"init"}
    assert machine.gpu_names() == ""
