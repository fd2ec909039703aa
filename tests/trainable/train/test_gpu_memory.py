"""The seam to a GPU's memory, before a card that is only pretended: caps, peaks, and whose fault it is."""

import copy
import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch

from trainable.failure import MemoryUse, OutOfMemory, TrialFailed
from trainable.train import gpu_memory
from trainable.train.gpu_memory import CONTEXT_BYTES, SLACK_BYTES, is_out_of_memory, memory_use, set_share

GIB = 2**30


@dataclass
class Card:
    """As much of ``torch.cuda`` as the seam asks."""

    total: int = 24 * GIB
    free: int = 4 * GIB
    reserved: int = 10 * GIB
    allocated: int = 9 * GIB
    peak: int = 9 * GIB
    fraction: float = 1.0


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[Card]:
    card = Card()

    def cap(fraction: float) -> None:
        card.fraction = fraction

    def forget_peak() -> None:
        card.peak = card.allocated

    asked = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "mem_get_info": lambda: (card.free, card.total),
        "memory_reserved": lambda: card.reserved,
        "memory_allocated": lambda: card.allocated,
        "max_memory_allocated": lambda: card.peak,
        "reset_peak_memory_stats": forget_peak,
        "set_per_process_memory_fraction": cap,
        "get_per_process_memory_fraction": lambda: card.fraction,
    }
    for name, function in asked.items():
        monkeypatch.setattr(torch.cuda, name, function)
    return card


def full(asked: str = "2.00 GiB") -> torch.OutOfMemoryError:
    return torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {asked}. GPU 0 has a total capacity of ...")


def test_a_share_is_capped_less_the_context_and_each_trial_sets_its_own(card: Card) -> None:
    set_share(0.5)
    assert card.fraction * card.total == pytest.approx(12 * GIB - CONTEXT_BYTES)
    set_share(0.25)
    assert card.fraction * card.total == pytest.approx(6 * GIB - CONTEXT_BYTES)
    set_share(1)
    assert card.fraction == 1.0
    set_share(2)
    assert card.fraction == 1.0


def test_shares_that_fill_a_card_do_not_exceed_it(card: Card) -> None:
    held = 0.0
    for share in (0.5, 0.3, 0.2):
        set_share(share)
        held += card.fraction * card.total + CONTEXT_BYTES
    assert held <= card.total * (1 + 1e-12)


def test_a_share_that_holds_only_a_context_is_refused_in_words(card: Card) -> None:
    with pytest.raises(TrialFailed, match=r"^resources\.gpu: 0\.02 of a GPU of 24\.0 GiB holds no more than a CUDA"):
        set_share(0.02)


def test_without_a_gpu_nothing_happens() -> None:
    assert not torch.cuda.is_available()
    set_share(0.5)
    gpu_memory.reset_peak()
    assert (gpu_memory.total_bytes(), gpu_memory.peak_bytes(), memory_use(full())) == (None, None, None)


def test_the_peak_is_that_since_the_last_trial(card: Card) -> None:
    card.peak = 20 * GIB
    assert gpu_memory.peak_bytes() == 20 * GIB
    gpu_memory.reset_peak()
    assert gpu_memory.peak_bytes() == 9 * GIB


@pytest.mark.parametrize(
    ("share", "free", "asked", "others"),
    [
        (0.5, 14 * GIB, "2.00 GiB", False),  # beyond its own cap, on a card that is half empty
        (0.5, 0, "2.00 GiB", False),  # beyond its cap in any case
        (0.5, 0, "512.00 MiB", True),  # within its cap, and nothing is there
        (0.5, 2 * GIB, "512.00 MiB", False),  # all that it may take is there: fragments
        (1, 13 * GIB + SLACK_BYTES, "20.00 GiB", False),
        (1, 3 * GIB, "4.00 GiB", True),  # a whole card, of which a stranger holds a part
    ],
)
def test_whose_fault_it_is(card: Card, share: float, free: int, asked: str, others: bool) -> None:
    set_share(share)
    card.free = free
    use = memory_use(full(asked))
    assert use is not None
    assert use.by_others is others
    assert (use.free, use.total) == (free, card.total)


def test_the_peak_of_a_failure_holds_what_was_asked_for(card: Card) -> None:
    use = memory_use(full("5.50 GiB"))
    assert use is not None
    assert use.peak == 9 * GIB + int(5.5 * GIB)
    use = memory_use(torch.OutOfMemoryError("CUDA out of memory."))
    assert use is not None
    assert use.peak == 9 * GIB


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (full(), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (MemoryError(), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, is_one: bool) -> None:
    assert is_out_of_memory(error) is is_one


@pytest.mark.parametrize("use", [None, MemoryUse(13 * GIB, 11 * GIB, GIB, 24 * GIB)])
def test_the_error_travels_between_processes(use: MemoryUse | None) -> None:
    error = OutOfMemory("epoch 2, step 3", use, "lower it")
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert (str(again), again.use, again.where) == (str(error), use, "epoch 2, step 3")
    measured = " (peak 13.00, allowed 11.00, free 1.00 of 24.00 GiB)" if use else ""
    assert str(error) == f"epoch 2, step 3: the GPU is out of memory{measured}; lower it"


@pytest.mark.parametrize("chosen", [None, "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"])
def test_segments_expand_unless_the_user_chose_otherwise(chosen: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        monkeypatch.delenv(name, raising=False)
    if chosen:
        monkeypatch.setenv(chosen, "max_split_size_mb:64")
    gpu_memory.prefer_expandable_segments()
    expected = "expandable_segments:True" if chosen is None else os.environ.get(chosen)
    assert os.environ[chosen or "PYTORCH_CUDA_ALLOC_CONF"] == expected
