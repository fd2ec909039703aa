"""A thread that prepares batches ahead: the same batches, at most two, and no thread or error left behind."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import torch
from torch import Tensor

from trainable.data.errors import DataError
from trainable.data.frames import Batch, HeldFrames, load_splits
from trainable.data.prefetch import DEPTH, NoStream, Prefetch, ahead
from trainable.data.transfer import device_batches, divided, fill
from trainable.train.engine import fit

SUPPRESSION = {"gate_norm": "mean", "alpha": 1.0, "schedule": "constant", "p_max": 0.5}


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Prefetch]]:
    """Let a thread prepare the batches of a CPU's trials too; holds each Prefetch that was made."""
    made: list[Prefetch] = []

    def threaded(batches: Iterator[Batch], device: torch.device) -> AbstractContextManager[Iterator[Batch]]:
        return threads(batches, made)

    for place in ("trainable.train.epoch", "trainable.evaluate.evaluate", "trainable.train.recalibration"):
        monkeypatch.setattr(f"{place}.ahead", threaded)
    yield made
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@contextmanager
def threads(batches: Iterator[Batch], made: list[Prefetch]) -> Iterator[Iterator[Batch]]:
    made.append(Prefetch(batches, NoStream()))
    try:
        yield made[-1].batches()
    finally:
        made[-1].close()


def numbered(count: int, taken: list[int]) -> Iterator[Batch]:
    for number in range(count):
        taken.append(number)
        yield torch.tensor([number]), torch.tensor([number])


def wait_until(reached: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not reached() and time.monotonic() < until:
        time.sleep(0.01)
    assert reached()


def test_a_trial_whose_batches_a_thread_prepares_is_the_same(make_trial, as_on_a_gpu: list[Prefetch]) -> None:
    """Bit for bit: crops, colours, pasting, suppression, recalibration, evaluation."""
    augment = {"scale": [0.5, 2.0], "crop": [32, 64], "crop_max_share": 0.9, "flip": True, "photometric": 0.3}
    config = make_trial(
        data={"augment": augment, "rare_copy_paste": 0.5}, suppression={**SUPPRESSION, "recalibrate": True}
    )
    threaded = [result.metrics for result in fit(config, device="cpu", threads=1)]
    prepared = len(as_on_a_gpu)
    with pytest.MonkeyPatch.context() as patch:
        for place in ("trainable.train.epoch", "trainable.evaluate.evaluate", "trainable.train.recalibration"):
            patch.setattr(f"{place}.ahead", ahead)
        usual = [result.metrics for result in fit(config, device="cpu", threads=1)]
    assert len(as_on_a_gpu) == prepared >= 2 * (1 + 1 + 4), "training, recalibration and the four splits"
    for one, other in zip(threaded, usual, strict=True):
        assert {n: v for n, v in one.items() if "seconds" not in n} == {
            n: v for n, v in other.items() if "seconds" not in n
        }


def test_batches_come_in_order_and_at_most_two_lie_ready() -> None:
    taken: list[int] = []
    thread = Prefetch(numbered(7, taken), NoStream())
    try:
        batches = thread.batches()
        for number in range(7):
            wait_until(lambda at=number: len(taken) == min(7, at + DEPTH))
            time.sleep(0.02)
            assert len(taken) == min(7, number + DEPTH)
            assert int(next(batches)[0]) == number
        assert next(batches, None) is None
    finally:
        thread.close()


@pytest.mark.parametrize("used", [0, 1, 3])
def test_a_closed_prefetch_leaves_no_thread_and_takes_no_more(used: int) -> None:
    taken: list[int] = []
    thread = Prefetch(numbered(10**6, taken), NoStream())
    batches = thread.batches()
    for _ in range(used):
        next(batches)
    thread.close()
    assert not thread._thread.is_alive()
    so_many = len(taken)
    assert so_many <= used + DEPTH
    time.sleep(0.05)
    assert len(taken) == so_many


def test_an_error_comes_where_its_batch_would_have() -> None:
    def breaking() -> Iterator[Batch]:
        yield from numbered(2, [])
        raise DataError("frame 3 is broken", "data.root")

    thread = Prefetch(breaking(), NoStream())
    batches = thread.batches()
    assert [int(next(batches)[0]) for _ in range(2)] == [0, 1]
    with pytest.raises(DataError) as caught:
        next(batches)
    assert str(caught.value) == "data.root: frame 3 is broken"
    thread.close()
    assert not thread._thread.is_alive()


def test_a_trial_that_fails_or_is_closed_early_leaves_no_thread(make_trial, as_on_a_gpu: list[Prefetch]) -> None:
    results = fit(make_trial(), device="cpu", threads=1)
    next(results)
    results.close()  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="the loss is"):
        list(fit(make_trial(train={"lr": 1e20, "epochs": 2}), device="cpu", threads=1))
    assert len(as_on_a_gpu) > 2
    assert not any(each._thread.is_alive() for each in as_on_a_gpu)


def test_threads_of_the_step_are_not_changed_by_the_thread() -> None:
    torch.set_num_threads(2)
    thread = Prefetch(numbered(3, []), NoStream())
    list(thread.batches())
    thread.close()
    assert torch.get_num_threads() == 2


def test_parts_of_one_copy_are_the_parts() -> None:
    parts = [torch.randint(256, shape, dtype=torch.uint8) for shape in ((3, 5, 7), (5, 7), (1, 1), (3, 2, 9))]
    memory = torch.empty(sum(part.numel() for part in parts), dtype=torch.uint8)
    fill(memory, [part.flip(-1) for part in parts])
    for found, part in zip(divided(memory, parts), parts, strict=True):
        assert torch.equal(found, part.flip(-1))


def test_batches_on_a_cpu_are_those_of_the_frames(make_trial) -> None:
    frames = load_splits(make_trial().data).val
    assert isinstance(frames, HeldFrames)
    indices: list[Tensor] = [torch.tensor([2, 0]), torch.tensor([5])]
    found = list(device_batches(frames, indices, torch.device("cpu")))
    for (images, labels), chosen in zip(found, indices, strict=True):
        assert torch.equal(images, frames.images[chosen])
        assert torch.equal(labels, frames.labels[chosen])
