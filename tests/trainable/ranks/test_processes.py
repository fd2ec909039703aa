"""The ranks of a trial go from epoch to epoch together, and end together."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed as dist

from trainable.config import TrialConfig
from trainable.data.errors import DataError
from trainable.failure import MemoryUse, OutOfMemory, TrialFailed
from trainable.team import processes
from trainable.team.messages import failure_of, is_symptom
from trainable.team.processes import fit_on_ranks
from trainable.team.team import MODULE, _of_rank

FIT = "fits_on_ranks:fit"


def totals(config: TrialConfig, ranks: int, **more: object) -> list[float]:
    results = fit_on_ranks(config, ranks, device="cpu", threads=1, fit=FIT, **more)  # type: ignore[arg-type]
    return [result.metrics["val/miou"] for result in results]


def ranks_of(pid: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children() if MODULE in child.cmdline()]


def test_ranks_train_in_step_and_leave_no_group(config: TrialConfig) -> None:
    assert totals(config, 2) == [3, 6, 9]
    assert not dist.is_initialized()


def test_the_processes_stay_for_the_next_trial_of_as_many_ranks(config: TrialConfig) -> None:
    totals(config, 2)
    before = ranks_of(os.getpid())
    assert totals(config, 2) == [3, 6, 9]
    assert ranks_of(os.getpid()) == before
    assert totals(config, 3) == [6, 12, 18]
    assert len(ranks_of(os.getpid())) == 2
    assert not any(process.is_running() for process in before)
    processes.end_ranks()
    assert ranks_of(os.getpid()) == []


def test_a_trial_continues_on_another_number_of_ranks(config: TrialConfig) -> None:
    state = {"epoch": 1, "total": torch.full((1,), 3.0)}
    assert totals(config, 3, resume_from=state) == [9, 15]


def test_a_trial_that_is_closed_between_epochs_leaves_its_processes_at_rest(config: TrialConfig) -> None:
    results = fit_on_ranks(config, 2, device="cpu", fit=FIT)
    next(results)
    results.close()
    assert not dist.is_initialized()
    before = ranks_of(os.getpid())
    assert totals(config, 2) == [3, 6, 9]
    assert ranks_of(os.getpid()) == before


@pytest.mark.parametrize(
    ("what", "kind", "words"),
    [
        ("fail", TrialFailed, "rank 1 of 2: epoch 2: the loss is nan"),
        ("data", DataError, "/data/frame.png: no such file"),
    ],
)
def test_a_failure_of_another_rank_is_raised_with_its_words(
    config: TrialConfig, strike: Callable[[str], None], what: str, kind: type[Exception], words: str
) -> None:
    strike(f"{what}@1:2")
    results = fit_on_ranks(config, 2, device="cpu", fit=FIT)
    next(results)
    with pytest.raises(kind) as raised:
        next(results)
    assert str(raised.value) == words
    assert not dist.is_initialized()
    assert ranks_of(os.getpid()) == []


def test_an_own_failure_ends_the_other_ranks(config: TrialConfig, strike: Callable[[str], None]) -> None:
    strike("fail@0:2")
    with pytest.raises(TrialFailed, match=r"^epoch 2: the loss is nan$"):
        totals(config, 2)
    assert ranks_of(os.getpid()) == []
    assert not dist.is_initialized()


def test_signals_to_all_processes_of_a_trial_are_rank_0s_alone(config: TrialConfig) -> None:
    results = fit_on_ranks(config, 2, device="cpu", fit=FIT)
    next(results)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        ranks_of(os.getpid())[0].send_signal(number)
    assert [result.metrics["val/miou"] for result in results] == [6, 9]


ALONE = """
import sys, time
from trainable.config import read_trial
from trainable.team.processes import fit_on_ranks
from conftest import TREE
for result in fit_on_ranks(read_trial(TREE), 3, device="cpu", threads=1, fit="fits_on_ranks:fit", timeout_s=5):
    print(result.epoch, flush=True)
    if result.epoch == 2 and "wait" in sys.argv:
        time.sleep(600)
"""


def start(strike: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", ALONE, *arguments],
        env={**os.environ, "STRIKE": strike, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("strike", "line", "code"),
    [
        ("kill@1:2", "trial failed: rank 1 of 3 died (killed by SIGKILL)", 1),
        ("kill@0:2", "", -signal.SIGKILL),
        ("hang@2:2", "trial failed: the ranks lost each other: ", 1),
    ],
    ids=["killed", "rank 0 killed", "hangs"],
)
def test_a_rank_that_dies_or_hangs_ends_the_attempt(strike: str, line: str, code: int) -> None:
    with start(strike) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "1\n"
        others = ranks_of(command.pid)
        out, err = command.communicate(timeout=60)
    assert (out, command.returncode) == ("", code)
    assert err.startswith(line)
    assert len(err.splitlines()) <= 1
    assert psutil.wait_procs(others, timeout=20)[1] == []


@pytest.mark.parametrize("rank", [0, 2])
def test_a_rank_that_dies_between_epochs_ends_the_attempt(rank: int) -> None:
    with start("", "wait") as command:
        assert command.stdout is not None
        assert [command.stdout.readline() for _ in range(2)] == ["1\n", "2\n"]
        time.sleep(0.2)  # rank 0 has nothing to do for ten minutes
        everyone = [psutil.Process(command.pid), *ranks_of(command.pid)]
        everyone[rank].kill()
        _, err = command.communicate(timeout=20)
    assert command.returncode == (1 if rank else -signal.SIGKILL)
    assert "died (killed by SIGKILL)" in err or rank == 0
    assert psutil.wait_procs(everyone[1:], timeout=20)[1] == []


class Odd(Exception):
    """What `pickle` cannot make again."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one + other)


def test_a_failure_that_cannot_be_sent_keeps_its_words() -> None:
    sent = pickle.loads(pickle.dumps(failure_of(Odd("one", " other"), "trace")))
    assert (type(sent.error()), str(sent.error())) == (RuntimeError, "Odd: one other")


def test_what_follows_from_a_lost_rank_is_told_from_a_trials_own_failure() -> None:
    gloo = RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer")
    told = TrialFailed("epoch 1, step 1: the model cannot take the batch (Connection closed by peer)")
    told.__cause__ = gloo
    circular = RuntimeError("shapes differ")
    circular.__cause__ = circular
    assert [is_symptom(error) for error in (gloo, told, circular, TrialFailed("nan"))] == [True, True, False, False]


def test_the_package_of_ranks_imports_torch_late() -> None:
    code = "import sys, trainable.team.processes, trainable.team.command; sys.exit('torch' in sys.modules)"
    root = Path(processes.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_out_of_memory_of_a_rank_stays_what_it_is() -> None:
    use = MemoryUse(peak=3, cap=2, free=1, total=4)
    error = _of_rank(failure_of(OutOfMemory("epoch 2, step 3", use, "lower it"), "trace"), 1, 4)
    assert isinstance(error, OutOfMemory)
    assert (error.where, error.use) == ("rank 1 of 4: epoch 2, step 3", use)
    assert str(error).startswith("rank 1 of 4: epoch 2, step 3: the GPU is out of memory (peak 0.00")
