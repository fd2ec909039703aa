"""Who holds a study's lease, and whether that process still lives.

A host's name and a process's id name nobody: containers share both. What does is the boot of the kernel, the namespace
of process ids and the moment at which the process started. From anywhere else nothing is known of a process.
"""

import os
import platform
import time
import uuid
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Field

LATEST_S = 1e11
"""No clock is beyond it: such a lease would never end."""
_STATE, _STARTED = 0, 19
"""Where ``/proc/PID/stat`` holds them, behind the name of the program."""
_DEAD = "ZXx"
"""States of a process of which nothing is left but its exit code, for a parent that may never ask."""


@dataclass(frozen=True)
class Holder:
    """Who runs a study."""

    owner: str
    """Tells one launch from another."""
    host: str
    pid: Annotated[int, Field(ge=0, lt=2**31)]
    time: Annotated[float, Field(ge=0, lt=LATEST_S, allow_inf_nan=False)]
    """Of the last heartbeat, in seconds since 1970 by the holder's clock."""
    boot: str | None = None
    """Of the kernel, as it calls it; None where the system or an older version does not say."""
    pid_namespace: int | None = None
    """In which the process has this id."""
    started: int | None = None
    """When the process did, in the kernel's ticks since its boot."""

    @classmethod
    def here(cls) -> Self:
        """This process, as a new launch with its first heartbeat."""
        boot, pid_namespace = _place() or (None, None)
        stat = _stat(os.getpid()) if boot is not None else None
        started = int(stat[_STARTED]) if stat else None
        return cls(uuid.uuid4().hex, platform.node(), os.getpid(), time.time(), boot, pid_namespace, started)

    def lives(self) -> bool | None:
        """Whether its process lives, for certain; None where only its heartbeat tells."""
        if self.started is None or _place() != (self.boot, self.pid_namespace):
            return None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:  # another user's
            pass
        stat = _stat(self.pid)
        if stat is None:  # hidden from this user
            return None
        return int(stat[_STARTED]) == self.started and stat[_STATE] not in _DEAD


def _place() -> tuple[str, int] | None:
    """The boot and the namespace in which this process has its id; None where the system does not say.

    Nor where /proc is that of another namespace: there a process has another id.
    """
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            return None
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            return stream.read().strip(), os.stat("/proc/self/ns/pid").st_ino
    except (OSError, ValueError):
        return None


def _stat(pid: int) -> list[str] | None:
    """What the kernel says of a process, from its state on; None where it says nothing."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            fields = stream.read().rpartition(")")[2].split()
    except OSError:
        return None
    return fields if len(fields) > _STARTED else None
