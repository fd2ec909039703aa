"""One launch of a study at a time: a lease in the study's directory, renewed by a heartbeat.

A lease that was not renewed for ``STALE_S`` is taken over, and so is at once that of a process of this host that is no
more. Object stores have no lock: two launches that begin within the same second may both believe they are alone; each
looks again after a moment, and the one that finds the other's lease gives up.
"""

import os
import platform
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Annotated

import psutil
from pydantic import Field, TypeAdapter, ValidationError

from orchestrator.errors import InputError
from orchestrator.store import layout
from orchestrator.store.addresses import redacted
from orchestrator.store.objects import DamagedError, Objects

HEARTBEAT_S = 10.0
STALE_S = 60.0
LATEST_S = 1e11
"""No clock is beyond it: such a lease would never end."""
SETTLE_S = 0.2
"""How long a launch waits before it looks whether another one took the lease in the same moment."""


@dataclass(frozen=True)
class Holder:
    """Who runs a study."""

    owner: str
    """Tells one launch from another."""
    host: str
    pid: Annotated[int, Field(ge=0, lt=2**31)]
    time: Annotated[float, Field(ge=0, lt=LATEST_S, allow_inf_nan=False)]
    """Of the last heartbeat, in seconds since 1970."""

    @property
    def alive(self) -> bool:
        """Whether it is still at work, as far as can be told from here."""
        gone = self.host == platform.node() and not psutil.pid_exists(self.pid)
        return not gone and time.time() - self.time < STALE_S


@contextmanager
def lease(objects: Objects, say: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Hold the study; what comes back releases it early, in any thread.

    Raises:
        InputError: another launch holds it; says which.
        OSError: the storage cannot be used.
    """
    before = _read(objects)
    if before is not None:
        if before.alive:
            raise InputError(_refusal(objects, before))
        say(f"The launch at {before.host}, process {before.pid}, is no more: its study is taken over.")
    this = Holder(uuid.uuid4().hex, platform.node(), os.getpid(), time.time())
    objects.write_json(layout.LEASE, asdict(this))
    time.sleep(SETTLE_S)
    other = _other(objects, this)
    if other is not None:
        raise InputError(_refusal(objects, other))
    stop = threading.Event()
    thread = threading.Thread(target=_beat, args=(objects, this, stop, say), name="lease", daemon=True)
    thread.start()

    def release() -> None:
        stop.set()
        thread.join()
        with suppress(OSError):
            now = _read(objects)
            if now is not None and now.owner == this.owner:
                objects.delete(layout.LEASE)
            objects.remove_if_empty()

    try:
        yield release
    finally:
        release()


def holder(objects: Objects) -> Holder | None:
    """Who runs the study now; None where nobody does."""
    latest = _read(objects)
    return latest if latest is not None and latest.alive else None


def held_elsewhere(objects: Objects) -> str | None:
    """Why a launch would be refused: another one holds the study; None where nobody does."""
    latest = holder(objects)
    return None if latest is None else _refusal(objects, latest)


def _beat(objects: Objects, this: Holder, stop: threading.Event, say: Callable[[str], None]) -> None:
    """Renew the lease; where another launch has taken it (this one slept too long), stop as after SIGTERM."""
    while not stop.wait(HEARTBEAT_S):
        with suppress(OSError):  # a storage that is away for a while: the next beat may reach it
            other = _other(objects, this)
            if other is not None:
                say(f"Another launch took this study over (host {other.host}, process {other.pid}): this one stops.")
                os.kill(os.getpid(), signal.SIGTERM)
                return
            objects.write_json(layout.LEASE, asdict(replace(this, time=time.time())))


def _read(objects: Objects) -> Holder | None:
    with suppress(DamagedError, ValidationError):  # whoever wrote it writes it anew within a heartbeat
        return TypeAdapter(Holder | None).validate_python(objects.read_json(layout.LEASE))
    return None


def _other(objects: Objects, this: Holder) -> Holder | None:
    """The launch that holds the lease instead of this one, if any."""
    latest = _read(objects)
    return latest if latest is not None and latest.owner != this.owner else None


def _refusal(objects: Objects, other: Holder) -> str:
    ago = max(0, round(time.time() - other.time))
    return (
        f"{redacted(objects.uri)}: another launch runs this study (host {other.host}, process {other.pid}, last "
        f"heartbeat {ago} s ago); wait for it or stop it. {STALE_S:g} s after its last heartbeat it may be taken over"
    )
