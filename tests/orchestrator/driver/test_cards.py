"""The memory of each node's GPUs: asked once, alike or not, MIG slices as what they are."""

from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.driver import cards as module
from orchestrator.driver.cards import Cards, smallest_gpu
from orchestrator.driver.packing import Card

GIB = 2**30


def node(name: str, gpus: int = 1) -> dict[str, float]:
    return {"CPU": 8.0, "GPU": float(gpus), "node:__internal_head__": 1.0, f"node:{name}": 1.0, "memory": 1e9}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The nodes that were asked; what they have is in their names."""
    names: list[str] = []

    def ask(new: list[str]) -> list[int | None]:
        names.extend(new)
        return [None if name.endswith("silent") else int(name.split("-")[-1]) * GIB for name in new]

    monkeypatch.setattr(module, "ask", ask)
    return names


def test_cards_that_are_alike_bind_no_trial_to_a_node(asked: list[str]) -> None:
    cards = Cards()
    assert cards.of([node("a-24"), node("b-24"), {"CPU": 4.0, "node:c": 1.0}]) == [Card(None, 24 * GIB)]
    assert cards.of([node("a-24"), node("b-24")]) == [Card(None, 24 * GIB)]
    assert asked == ["node:a-24", "node:b-24"], "each once, and none without a GPU"


def test_a_node_that_joins_is_asked_and_one_that_leaves_is_forgotten(asked: list[str]) -> None:
    cards = Cards()
    cards.of([node("a-24")])
    assert cards.of([node("a-24"), node("b-80")]) == [Card("node:a-24", 24 * GIB), Card("node:b-80", 80 * GIB)]
    assert cards.of([node("b-80")]) == [Card(None, 80 * GIB)]
    assert asked == ["node:a-24", "node:b-80"]


def test_where_a_node_does_not_tell_nothing_is_known(asked: list[str]) -> None:
    assert Cards().of([node("a-24"), node("silent")]) == []
    assert Cards().of([]) == []


class Driver:
    """As much of NVML as is asked."""

    NVMLError = RuntimeError
    nvmlMemory_v2 = 2

    def __init__(self, gpus: dict[str, int]) -> None:
        self.gpus = gpus

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.gpus:
            raise RuntimeError("no driver")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        return list(self.gpus)[index]

    def nvmlDeviceGetMemoryInfo(self, gpu: str, version: int = 1) -> Any:  # noqa: N802
        if version == 2 and gpu.startswith("MIG"):
            raise RuntimeError("not supported")
        return SimpleNamespace(total=self.gpus[gpu], reserved=GIB)


def test_the_smallest_counts_without_what_the_driver_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "pynvml", Driver({"a": 80 * GIB, "b": 24 * GIB}))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert smallest_gpu() == 23 * GIB


def test_a_slice_is_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "pynvml", Driver({"MIG-1": 10 * GIB, "a": 80 * GIB}))
    monkeypatch.setattr(module, "visible_gpus", lambda: ["MIG-1"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1")
    assert smallest_gpu() == 10 * GIB


def test_without_a_driver_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "pynvml", Driver({}))
    assert smallest_gpu() is None
