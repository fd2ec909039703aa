"""One trial on several ranks of this machine: rank 0 is the caller's process, the others are processes of their own.

Every rank runs the same ``fit``, which trains its share where torch's default group exists; they go from epoch to epoch
in step. The processes stay for the next trial of this process, which so imports torch once: 3 to 8 seconds each.
"""

import atexit
import os
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from trainable.config import TrialConfig
from trainable.team.messages import Epoch, Order, Ready, Resting, Task, is_symptom
from trainable.team.rank_process import named_fit
from trainable.team.team import EndProcess, Team

if TYPE_CHECKING:
    from trainable.train.engine import EpochResult

T = TypeVar("T")
ENGINE = "trainable.train.engine:fit"
TIMEOUT_S = 600.0
"""Longest wait of a rank for another one: more than the difference between two ranks' ways to their first step."""
START_S = 600.0
"""How long the other processes may take to import torch: minutes from a file system that many share."""
REST_S = 5.0
"""How long the other processes may take to leave a trial before they are killed."""

_team: Team | None = None
"""The processes of the last trial, which wait for the next one."""


def end_process(reason: str) -> None:
    """Say why a trial ends, and end this process: whatever its threads do, a collective that waits for ever too."""
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"trial failed: {reason}\n".encode())
    os._exit(1)


def fit_on_ranks(
    config: TrialConfig,
    ranks: int,
    *,
    device: str | None = None,
    threads: int | None = None,
    resume_from: Mapping[str, Any] | None = None,
    fit: str = ENGINE,
    end: EndProcess = end_process,
    timeout_s: float = TIMEOUT_S,
) -> Generator["EpochResult", None, None]:
    """Train and evaluate on several ranks, one result per epoch; the work begins with the first ``next``.

    Between two results the other ranks wait. When the generator ends or is closed, the default group is gone.

    Args:
        config: the trial; ``train.batch_size`` is that of all ranks together.
        ranks: processes, this one included; at least 2.
        device: ``cpu`` or ``cuda``; None takes GPUs if there are any, one for each rank where there are enough.
        threads: torch's threads on the CPU in each rank; None leaves them as they are.
        resume_from: state of an earlier epoch of the same trial, on however many ranks.
        fit: ``module:function`` that every rank runs.
        end: ends this process, called in another thread when a rank died or is not to be reached.
        timeout_s: longest wait of a rank for another one.

    Raises:
        DataError, ModelError: the trial cannot start.
        TrialFailed: it cannot go on in one of the ranks.
    """
    team = _team_of(ranks)  # before torch is imported here: they import it meanwhile
    from trainable.team.forming import break_off, form_group, leave_group, open_store, placement

    orderly, results = False, None
    try:
        with team.guarding(end, break_off), _state_file(resume_from) as state:
            place, store = placement(0, ranks, device), open_store(ranks, timeout_s)
            team.tell(lambda rank: Task(config, fit, rank, ranks, store.port, timeout_s, device, threads, state))
            team.hear(Ready(), START_S)
            _with_all(team, lambda: form_group(store, 0, ranks, place, timeout_s))
            results = named_fit(fit)(config, device=place.device, threads=threads, resume_from=resume_from)
            while (result := _next_epoch(results, team, timeout_s)) is not None:
                orderly = True
                yield result
                orderly = False
        orderly = True
    finally:
        if results is not None:
            results.close()
        _part(team, orderly, leave_group)


def end_ranks() -> None:
    """End the processes that wait for the next trial."""
    global _team
    team, _team = _team, None
    if team is not None:
        team.kill()


atexit.register(end_ranks)


def _team_of(ranks: int) -> Team:
    """The processes of the last trial where they serve, else new ones."""
    global _team
    if _team is None or not _team.serves(ranks):
        end_ranks()
        _team = Team(ranks)
    return _team


def _next_epoch(results: Iterator["EpochResult"], team: Team, timeout_s: float) -> "EpochResult | None":
    """An epoch of all ranks; None after the last one."""
    team.tell(Order.EPOCH)
    result = _with_all(team, lambda: next(results, None))
    team.hear(Epoch(result.epoch if result else None), timeout_s)
    return result


def _with_all(team: Team, act: Callable[[], T]) -> T:
    """Do what needs the other ranks; where one of them failed, that is what is raised."""
    try:
        return act()
    except Exception as error:
        if is_symptom(error) or team.broken_off:
            raise team.cause(error) from None
        raise


def _part(team: Team, orderly: bool, leave_group: Callable[[], None]) -> None:
    """End a trial in all ranks; processes that are not known to rest are killed."""
    if orderly:
        team.tell(Order.REST)  # first: ranks leave a group together
    leave_group()
    if not (orderly and team.rests(Resting(), REST_S)):
        end_ranks()


@contextmanager
def _state_file(state: Mapping[str, Any] | None) -> Iterator[str | None]:
    """A file in memory with a trial's state, written once for all ranks (480 MB: 0.3 s, and 0.2 s in each); or None."""
    if state is None:
        yield None
        return
    import torch

    descriptor = os.memfd_create("trial-state")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            torch.save(dict(state), file)
        yield f"/proc/{os.getpid()}/fd/{descriptor}"
    finally:
        os.close(descriptor)
