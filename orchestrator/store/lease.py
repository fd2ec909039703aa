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
from typing import Any

from orchestrator.errors import InputError
from orchestrator.store.addresses import redacted
from orchestrator.store.objects import DamagedError, Objects

NAME = "lease.json"
HEARTBEAT_S = 10.0
STALE_S = 60.0
SETTLE_S = 0.2
"""How long a launch waits before it looks whether another one took the lease in the same moment."""


@contextmanager
def lease(objects: Objects, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the study.

    Raises:
        InputError: another launch holds it; says which.
        OSError: the storage cannot be used.
    """
    held = _read(objects)
    if held is not None:
        if _alive(held):
            raise InputError(_refusal(objects, held))
        say(f"The launch at {held['host']}, process {held['pid']}, is no more: its study is taken over.")
    mine = {"owner": uuid.uuid4().hex, "host": platform.node(), "pid": os.getpid(), "time": time.time()}
    objects.write_json(NAME, mine)
    time.sleep(SETTLE_S)
    held = _read(objects)
    if held is not None and held["owner"] != mine["owner"]:
        raise InputError(_refusal(objects, held))
    stop = threading.Event()
    thread = threading.Thread(target=_beat, args=(objects, mine, stop, say), name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        with suppress(OSError):
            held = _read(objects)
            if held is not None and held["owner"] == mine["owner"]:
                objects.delete(NAME)
            objects.remove_if_empty()


def holder(objects: Objects) -> dict[str, Any] | None:
    """Who runs the study now; None where nobody does."""
    held = _read(objects)
    return held if held is not None and _alive(held) else None


def _beat(objects: Objects, mine: dict[str, Any], stop: threading.Event, say: Callable[[str], None]) -> None:
    """Renew the lease; where another launch has taken it (this one slept too long), stop as after SIGTERM."""
    while not stop.wait(HEARTBEAT_S):
        with suppress(OSError):  # a storage that is away for a while: the next beat may reach it
            held = _read(objects)
            if held is not None and held["owner"] != mine["owner"]:
                say(
                    f"Another launch took this study over (host {held['host']}, process {held['pid']}): this one stops."
                )
                os.kill(os.getpid(), signal.SIGTERM)
                return
            objects.write_json(NAME, {**mine, "time": time.time()})


def _read(objects: Objects) -> dict[str, Any] | None:
    try:
        held: dict[str, Any] | None = objects.read_json(NAME)
    except DamagedError:  # whoever wrote it writes it anew within a heartbeat
        return None
    return held


def _alive(held: dict[str, Any]) -> bool:
    if held["host"] == platform.node() and not _is_running(int(held["pid"])):
        return False
    return time.time() - float(held["time"]) < STALE_S


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _refusal(objects: Objects, held: dict[str, Any]) -> str:
    ago = max(0, round(time.time() - float(held["time"])))
    return (
        f"{redacted(objects.uri)}: another launch runs this study (host {held['host']}, process {held['pid']}, last "
        f"heartbeat {ago} s ago); wait for it or stop it. {STALE_S:g} s after its last heartbeat it may be taken over"
    )
