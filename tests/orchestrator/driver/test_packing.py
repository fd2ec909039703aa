"""Shares of cards by measured peaks, kinds of trials, rungs of the ladder: what the packer decides, one by one."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.driver.capacity import Demand, at_a_time, has_room
from orchestrator.driver.ladder import Again, Fallen, after, first_rung
from orchestrator.driver.memory_class import memory_class
from orchestrator.driver.packing import (
    CONTEXT_BYTES,
    STEPS,
    Card,
    Share,
    cap_bytes,
    no_card,
    share_of,
    shares,
    together,
    whole,
)
from orchestrator.store import layout
from orchestrator.store.gpu_peaks import GpuPeaks
from orchestrator.store.objects import Objects
from orchestrator.store.trial_record import Rung, Setback

GIB = 2**30


@given(st.integers(1, 200 * GIB), st.integers(2 * GIB, 200 * GIB))
def test_a_share_holds_its_peak_within_its_cap(peak: int, total: int) -> None:
    share = share_of(peak, total)
    if share is None:
        assert peak + CONTEXT_BYTES > total
        return
    assert 0 < share <= 1
    assert share * STEPS == pytest.approx(round(share * STEPS), abs=1e-6), "Ray counts in ten thousandths"
    assert cap_bytes(share, total) >= peak
    assert together(peak, total) * (cap_bytes(share, total) + CONTEXT_BYTES) <= total * (1 + 1e-9)


@pytest.mark.parametrize(
    ("peak", "total", "share"),
    [(4 * GIB, 24 * GIB, 0.2178), (20 * GIB, 24 * GIB, 0.9844), (23 * GIB, 24 * GIB, 1.0), (24 * GIB, 24 * GIB, None)],
)
def test_the_margin_gives_way_before_a_card_is_too_small(peak: int, total: int, share: float | None) -> None:
    assert share_of(peak, total) == share


def test_each_node_by_its_own_card_the_fullest_first() -> None:
    cards = [Card("node:a", 80 * GIB), Card("node:b", 24 * GIB), Card("node:c", 10 * GIB)]
    assert shares(12 * GIB, cards) == [Share(0.6011, "node:b"), Share(0.1804, "node:a")]
    assert whole(cards) == [Share(1.0, "node:a")]
    assert whole([]) == [Share(1.0, None)]
    assert shares(90 * GIB, cards) == []
    assert no_card(90 * GIB, cards, 8).startswith("needs 90.6 GiB of GPU memory, the largest GPU has 80.0; what would ")
    assert "train.batch_size" not in no_card(90 * GIB, cards, 1), "there is no smaller batch"


def test_a_trial_of_one_node_counts_there_alone() -> None:
    nodes = [{"CPU": 8.0, "GPU": 1.0, "node:a": 1.0}, {"CPU": 8.0, "GPU": 2.0, "node:b": 1.0}]
    half_of_b = Demand(1, 0.5, "node:b")
    assert at_a_time(nodes, half_of_b) == 4
    assert has_room(nodes, [half_of_b] * 3, half_of_b)
    assert not has_room(nodes, [half_of_b] * 4, half_of_b)
    assert has_room(nodes, [half_of_b] * 4, Demand(1, 1.0))
    assert not has_room(nodes, [Demand(1, 1, "node:a")], Demand(1, 0.1, "node:a"))
    assert half_of_b.bundle == {"CPU": 1, "GPU": 0.5, "node:b": 0.001}
    assert Demand(1, 0).bundle == {"CPU": 1}


CONFIG: dict[str, Any] = {
    "seed": 1,
    "data": {"name": "shapes", "size": [64, 64], "root": "/a", "augment": {"crop": None, "flip": True}},
    "model": {"arch": "fpn", "encoder": "resnet18", "encoder_weights": "imagenet"},
    "train": {"epochs": 4, "batch_size": 8, "lr": 0.1, "optimizer": {"name": "adamw", "weight_decay": 0.1}},
    "suppression": {"layer": "decoder", "p_max": 0.5, "sampling": {"name": "inverse_frequency", "tau": 1.0}},
    "evaluation": {"window": None},
}


def changed(path: str, value: object) -> dict[str, Any]:
    *sections, last = path.split(".")
    tree = {name: dict(child) if isinstance(child, dict) else child for name, child in CONFIG.items()}
    place = tree
    for name in sections:
        place[name] = dict(place[name])
        place = place[name]
    place[last] = value
    return tree


@pytest.mark.parametrize(
    ("path", "value"),
    [("seed", 2), ("train.lr", 1.0), ("train.epochs", 9), ("train.optimizer.weight_decay", 0), ("data.root", "/b"),
     ("suppression.p_max", 1.0), ("suppression.start", 0.5), ("suppression.sampling", {"name": "uniform"}),
     ("train.memory", "exact"), ("model.encoder_weights", None), ("data.augment.flip", False), ("preset", "official")],
)  # fmt: skip
def test_what_moves_no_memory_makes_no_new_kind(path: str, value: object) -> None:
    assert memory_class(changed(path, value)) == memory_class(CONFIG)


@pytest.mark.parametrize(
    ("path", "value"),
    [("model.arch", "unet"), ("model.encoder", "resnet50"), ("data.size", [96, 96]), ("data.augment.crop", [32, 32]),
     ("train.batch_size", 9), ("train.precision", "fp32"), ("train.memory", "recompute"), ("train.compile", True),
     ("train.optimizer.name", "sgd"), ("suppression.layer", "encoder.3"), ("suppression.mechanism", "erase"),
     ("suppression.granularity", "image"), ("suppression", None),
     ("evaluation.window", [64, 64]), ("train.something_new", 1)],
)  # fmt: skip
def test_everything_else_does(path: str, value: object) -> None:
    assert memory_class(changed(path, value)) != memory_class(CONFIG)


def setback(rung: Rung, gpu: float = 1.0, *, by_others: bool = False, total: int = 24 * GIB) -> Setback:
    return Setback(1, rung, gpu, "step 1", 1, 1, 1, total, by_others)


@pytest.mark.parametrize(
    ("last", "exact", "following"),
    [
        (setback("shared", 0.5), False, Again("alone")),
        (setback("shared", 0.5), True, Again("alone")),
        (setback("alone"), True, Again("recompute")),
        (setback("alone"), False, Fallen("alone on a GPU")),
        (setback("shared"), False, Fallen("alone on a GPU")),
        (setback("shared"), True, Again("recompute")),
        (setback("shared", total=10 * GIB), False, Again("alone")),
        (setback("recompute"), True, Fallen("alone on a GPU, and its activations computed again")),
        (setback("shared", 0.5, by_others=True), False, Again("shared")),
        (setback("alone", by_others=True), True, Again("alone")),
    ],
)
def test_the_ladder(last: Setback, exact: bool, following: Again | Fallen) -> None:
    assert after(last, 1, 3, may_recompute=exact, largest=24 * GIB) == following


def test_others_are_endured_as_often_as_workers_are_lost() -> None:
    others = setback("shared", 0.5, by_others=True)
    assert isinstance(after(others, 3, 3, may_recompute=False), Again)
    assert after(others, 4, 3, may_recompute=False) == Fallen("others held its memory 4 times")


def test_a_later_launch_begins_where_the_ladder_stood() -> None:
    assert first_rung([], may_recompute=True) == "shared"
    assert first_rung([setback("shared", 0.5)], may_recompute=False) == "alone"
    assert first_rung([setback("shared", 0.5), setback("alone")], may_recompute=False) == "alone", "once more"
    assert first_rung([setback("shared", 0.5), setback("alone")], may_recompute=True) == "recompute"
    assert first_rung([setback("shared", 0.5, by_others=True)], may_recompute=True) == "shared"


def test_the_largest_peak_stands_and_is_kept(tmp_path: Path) -> None:
    objects = Objects(str(tmp_path))
    peaks = GpuPeaks(objects)
    assert peaks.of("a") is None
    peaks.observe("a", 5 * GIB, 24 * GIB, "t-1")
    peaks.observe("a", 4 * GIB, 0, "t-2")
    peaks.observe("a", 6 * GIB, 0, "t-3")
    known = GpuPeaks(objects).of("a")
    assert known is not None
    assert (known.peak, known.total, known.trial) == (6 * GIB, 24 * GIB, "t-3")
    (tmp_path / layout.GPU_MEMORY).write_text("{")
    assert GpuPeaks(objects).of("a") is None, "damaged: measured again"
