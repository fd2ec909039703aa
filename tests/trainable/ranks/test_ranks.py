"""A trial on two ranks is the trial of one process: losses, draws, weights, statistics, evaluation, checkpoints."""

import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainable.ranks import trials
from trainable.data.augment import augmented_batches
from trainable.data.classes import IGNORE_INDEX
from trainable.data.frames import load_splits
from trainable.ranks.group import own
from trainable.train.checkpoint import to_bytes

pytestmark = [pytest.mark.timeout(900), pytest.mark.integration]  # a pair of processes works for all tests together
RANKS = 2
CLOSE = 1e-5
ROOT = Path(__file__).resolve().parents[3]

Pair = tuple[dict[str, Any], ...]


@pytest.fixture(scope="module")
def one_process() -> dict[str, Any]:
    """The whole trials in one process."""
    return {name: trials.whole(sections) for name, sections in trials.WHOLE.items()}


@pytest.fixture(scope="module")
def pair(one_process: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """What each of two ranks did."""
    folder = tmp_path_factory.mktemp("ranks")
    stopped = {name: {epoch: epochs[epoch]["state"] for epoch in "12"} for name, epochs in one_process.items()}
    (folder / "given").write_bytes(to_bytes(stopped))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.trainable.ranks.trials"]
    processes = [
        subprocess.Popen(
            [*command, *map(str, (rank, RANKS, folder / "store", folder / "given", folder / f"out{rank}"))],
            cwd=ROOT, env=environment,
        )
        for rank in range(RANKS)
    ]  # fmt: skip
    try:
        assert [process.wait(timeout=600) for process in processes] == [0] * RANKS
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return tuple(torch.load(folder / f"out{rank}", weights_only=False) for rank in range(RANKS))


def worst(ours: Any, theirs: Any, place: str = "") -> tuple[float, str]:
    """Largest difference between two trees of numbers and tensors, and where; of what is no number it is infinite."""
    if isinstance(theirs, Tensor):
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype or not torch.equal(ours.isnan(), theirs.isnan()):
            return math.inf, place
        return (float((ours - theirs).double().nan_to_num().abs().max()) if theirs.numel() else 0.0), place
    if isinstance(theirs, Mapping):
        if list(ours) != list(theirs):
            return math.inf, place
        return max([worst(ours[key], theirs[key], f"{place}.{key}") for key in theirs], default=(0.0, place))
    if isinstance(theirs, list | tuple):
        if len(ours) != len(theirs):
            return math.inf, place
        pairs = enumerate(zip(ours, theirs, strict=True))
        return max([worst(*both, f"{place}.{index}") for index, both in pairs], default=(0.0, place))
    if isinstance(theirs, float):
        return abs(ours - theirs), place
    return (0.0 if ours == theirs else math.inf), place


def of_all(draws: tuple[dict[str, Any] | None, ...]) -> dict[str, Any] | None:
    """The draw of the global batch from what the ranks have of it."""
    first, *_ = draws
    if first is None:
        assert set(draws) == {None}
        return None
    assert all(d is not None and (d["seed"], d["share"]) == (first["seed"], first["share"]) for d in draws)
    return {**first, "keep": torch.cat([d["keep"] for d in draws if d is not None])}


@pytest.mark.parametrize("name", trials.combinations() | trials.others())
def test_two_ranks_train_as_one_process(name: str, pair: Pair) -> None:
    sections = (trials.combinations() | trials.others())[name]
    alone = trials.trained(sections)
    ranks = [rank["cases"][name] for rank in pair]
    assert ranks[0]["bits"] == ranks[1]["bits"], "the ranks part"
    for step, drawn in enumerate(alone["draws"]):
        here = of_all(tuple(rank["draws"][step] for rank in ranks))
        if drawn is None or here is None:
            assert drawn is here
            continue
        keep = drawn["keep"]
        assert torch.equal(here["keep"], keep.repeat(RANKS, 1) if len(keep) == 1 else keep)
        assert (here["seed"], here["share"]) == (drawn["seed"], drawn["share"])
    for part in ("losses", "metrics", "model", "sampler"):
        difference, place = worst(ranks[0][part], alone[part], part)
        assert difference < CLOSE, place


@pytest.mark.parametrize("name", trials.WHOLE)
def test_two_ranks_evaluate_as_one_process(name: str, pair: Pair, one_process: dict[str, Any]) -> None:
    for rank in pair:
        ours, theirs = rank["whole"][name], one_process[name]
        for epoch, result in theirs.items():
            assert torch.equal(ours[epoch]["confusion"], result["confusion"])
        difference, place = worst(ours, theirs)
        assert difference < CLOSE, place


@pytest.mark.parametrize("epoch", ["1", "2"])
@pytest.mark.parametrize("name", trials.WHOLE)
def test_a_trial_continues_on_another_number_of_ranks(
    name: str, epoch: str, pair: Pair, one_process: dict[str, Any]
) -> None:
    rest = {number: result for number, result in one_process[name].items() if number > epoch}
    on_one = trials.whole(trials.WHOLE[name], resume_from=pair[0]["whole"][name][epoch]["state"])
    for continued in (on_one, pair[0]["continued"][name][epoch]):
        difference, place = worst(continued, rest)
        assert difference < CLOSE, place


def test_what_ranks_cannot_share_is_refused_in_a_line(pair: Pair) -> None:
    for rank in pair:
        assert rank["refused"] == {
            "batch": "SharesError: train.batch_size: a batch of 5 is not divided by 2 ranks; 4 or 6 would be",
            "one batch": "SharesError: train.batch_size: all 3 training images are one batch, which 2 ranks cannot "
            "share equally; use fewer ranks or a smaller batch",
            "not finite": "TrialFailed: epoch 1, step 2: the loss is nan",
        }


def test_rank_0_draws_and_exports_while_the_others_wait(pair: Pair) -> None:
    first, second = (rank["alone"] for rank in pair)
    assert second == {}
    assert all(picture is None or picture.startswith(b"\x89PNG") for picture in first["pictures"].values())
    assert not [kind for kind in first["kinds"] if "OverRanks" in kind]
    assert "BatchNorm2d" in first["kinds"] or "BatchNormAct2d" in first["kinds"]


def test_some_rank_ignores_more_pixels_than_another() -> None:
    """Else a mean of the ranks' means would pass."""
    config = trials.trial({})
    batches = [torch.arange(4)]
    frames, augment = load_splits(config.data).train, config.data.augment
    ((_, labels),) = augmented_batches(frames, batches, augment, torch.Generator().manual_seed(0), torch.device("cpu"))
    first, second = ((half == IGNORE_INDEX).sum() for half in labels.split(2))
    assert int(first) != int(second)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 12])
@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_parts_of_the_ranks_are_the_whole_in_order(count: int, ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []
    for rank in range(ranks):
        monkeypatch.setattr("trainable.ranks.group.world", lambda: ranks)
        monkeypatch.setattr("trainable.ranks.group.rank", lambda rank=rank: rank)
        parts.append(list(range(count))[own(count)])
    assert [item for part in parts for item in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_ranks_sum_gradients_that_some_of_them_lack(pair: Pair) -> None:
    """Weights: a gradient on both ranks, on one of them, on none."""
    for rank in pair:
        assert rank["gradients"] == [[3.0], [20.0], None, [300.0]]
