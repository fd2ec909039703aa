"""What rank 0 and the other processes of a trial tell each other. Imports no torch."""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from trainable.config import TrialConfig


@dataclass(frozen=True)
class Task:
    """A trial that a further process takes part in."""

    config: TrialConfig
    fit: str
    """``module:function``, as `trainable.train.engine.fit`."""
    rank: int
    ranks: int
    port: int
    """Of rank 0's store on 127.0.0.1."""
    timeout_s: float
    """Longest wait for the other ranks."""
    device: str | None
    threads: int | None
    state: str | None
    """File with the state of an earlier epoch; None begins at epoch 1."""


class Order(Enum):
    """What rank 0 asks for between the epochs of a trial."""

    EPOCH = auto()
    """The next epoch."""
    REST = auto()
    """The end of the trial; the process waits for another one."""


@dataclass(frozen=True)
class Ready:
    """A rank holds all that it needs to join the group."""


@dataclass(frozen=True)
class Epoch:
    """A rank ended an epoch; None: there was no other."""

    number: int | None


@dataclass(frozen=True)
class Resting:
    """A rank left the trial and waits for another one."""


@dataclass(frozen=True)
class Failure:
    """What ended a rank's part in a trial."""

    pickled: bytes | None
    """The exception, where it can be sent."""
    words: str
    trace: str
    symptom: bool
    """Whether the rank failed to reach the others, because one of them failed first."""

    def error(self) -> Exception:
        """The exception, or one with its words."""
        error = _unpickled(self.pickled) if self.pickled else None
        return error if error is not None else RuntimeError(self.words)


Answer: TypeAlias = Ready | Epoch | Resting


def failure_of(error: BaseException, trace: str) -> Failure:
    """An exception as it is sent."""
    try:
        pickled: bytes | None = pickle.dumps(error)
    except Exception:  # some exceptions hold what cannot be sent
        pickled = None
    if pickled is not None and _unpickled(pickled) is None:
        pickled = None
    return Failure(pickled, f"{type(error).__name__}: {error}", trace, is_symptom(error))


def is_symptom(error: BaseException) -> bool:
    """Whether an exception says that another rank could not be reached, and not why."""
    return any(
        isinstance(each, RuntimeError)
        and (type(each).__name__.startswith("Dist") or any(name in str(each) for name in ("gloo", "NCCL", "c10d")))
        for each in _causes(error)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what led to it."""
    met: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in met:
        met.add(id(each))
        yield each
        each = each.__cause__


def _unpickled(content: bytes) -> Exception | None:
    try:
        error = pickle.loads(content)
    except Exception:  # an exception's own way of being made again failed
        return None
    return error if isinstance(error, Exception) else None
