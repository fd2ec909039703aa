"""One trial on several ranks of a GPU machine: they share a GPU through gloo, or have one each through NCCL."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from test_trial_on_gpu import trial

from trainable.evaluate.metrics.names import MIOU, TRAIN_DROPPED, TRAIN_LOSS
from trainable.failure import TrialFailed
from trainable.team.processes import end_ranks, fit_on_ranks
from trainable.train.engine import fit

ENGINES = Path(__file__).parents[1] / "trainable/ranks"
TWO_GPUS = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(autouse=True)
def _processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(ENGINES))
    end_ranks()
    yield
    end_ranks()


def test_two_ranks_train_what_one_process_does() -> None:
    """Float32 and few small steps: other sums, the same draws; each rank has its GPU where there are two."""
    config = trial(precision="fp32", epochs=1, lr=1e-5)
    one = next(fit(config, device="cuda")).metrics
    two = next(fit_on_ranks(config, 2, device="cuda")).metrics
    assert two[TRAIN_LOSS] == pytest.approx(one[TRAIN_LOSS], rel=0.02)
    assert two[TRAIN_DROPPED] == one[TRAIN_DROPPED]
    assert two[MIOU] == pytest.approx(one[MIOU], abs=0.05)
    assert not dist.is_initialized()


def test_a_checkpoint_of_two_ranks_is_that_of_one_process() -> None:
    results = fit_on_ranks(trial(), 2, device="cuda")
    state = {"epoch": 1, **next(results).training.state_dict()}
    (last,) = fit(trial(), device="cuda", resume_from=state)
    results.close()
    assert last.epoch == 2


@TWO_GPUS
def test_a_rank_that_fails_lets_go_of_one_that_waits_on_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIKE", "fail@1:2")
    with pytest.raises(TrialFailed, match="rank 1 of 2: epoch 2: the loss is nan"):
        list(fit_on_ranks(trial(epochs=3), 2, device="cuda", fit="fits_on_ranks:fit"))
    assert not dist.is_initialized()


@TWO_GPUS
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_dies_ends_one_that_waits_on_its_gpu(rank: int) -> None:
    code = (
        "from test_trial_on_gpu import trial; from trainable.team.processes import fit_on_ranks;"
        "list(fit_on_ranks(trial(epochs=3), 2, device='cuda', fit='fits_on_ranks:fit'))"
    )
    env = {**os.environ, "STRIKE": f"kill@{rank}:2", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False, timeout=90
    )
    assert done.returncode == (1 if rank else -signal.SIGKILL), done.stderr
