"""One launch of a study at a time: a lease in the study's directory, renewed by a heartbeat.

A launch that finds it held waits until it is released, until its holder is dead for certain, or until its heartbeat has
stood still for ``STALE_S`` by the waiting launch's own clock: clocks of hosts differ. Object stores have no lock: two
launches that begin within the same second may both believe they are alone; each looks again after a moment, and the one
that finds the other's lease gives up.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace

from pydantic import TypeAdapter, ValidationError

from orchestrator.errors import TryAgain
from orchestrator.store import layout
from orchestrator.store.addresses import redacted
from orchestrator.store.holder import Holder
from orchestrator.store.objects import DamagedError, Objects

HEARTBEAT_S = 10.0
STALE_S = 60.0
"""A heartbeat that stands still for so long is none."""
GLANCE_S = 15.0
"""How long one that looks stale already is watched: longer than a heartbeat, since a clock may be wrong."""
FORGOTTEN_S = 3600.0
"""No clock is wrong by so much: a lease of another machine that is older is not watched at all."""
POLL_S = 1.0
"""How often a launch that waits looks at the lease."""
SETTLE_S = 0.2
"""How long a launch waits before it looks whether another one took the lease in the same moment."""


class StudyHeldError(TryAgain):
    """Another launch runs the study; the message says which."""


@contextmanager
def lease(objects: Objects, say: Callable[[str], None], silent: Holder | None = None) -> Iterator[Callable[[], None]]:
    """Hold the study; what comes back releases it early, in any thread.

    Args:
        objects: The study's directory.
        say: Shows the user a line.
        silent: The holder that gives no sign of life any more, as `wait_until_free` returned it.

    Raises:
        StudyHeldError: another launch holds it; says which.
        OSError: the storage cannot be used.
    """
    before = _read(objects)
    if before is not None:
        if before != silent and not _is_abandoned(before):
            raise StudyHeldError(_refusal(objects, before))
        end = "is no more" if before.lives() is False else "gives no sign of life any more"
        say(f"The launch at {before.host}, process {before.pid}, {end}: its study is taken over.")
    this = Holder.here()
    objects.write_json(layout.LEASE, asdict(this))
    time.sleep(SETTLE_S)
    other = _read(objects)
    if other is not None and other.owner != this.owner:
        raise StudyHeldError(_refusal(objects, other))
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


def wait_until_free(objects: Objects, say: Callable[[str], None], *, wait: bool = True) -> Holder | None:
    """Wait until no living launch holds the study; what holds it nevertheless comes back, for `lease` to take over.

    Without ``wait`` only a holder that looks dead already is watched for a moment.

    Raises:
        StudyHeldError: Without ``wait``: another launch holds it.
        OSError: The storage cannot be used.
    """
    latest = _read(objects)
    if latest is None or _is_abandoned(latest):
        return latest
    watch, told = _Watch(latest), None
    while not watch.is_over:
        if not wait and not watch.glances:
            raise StudyHeldError(_refusal(objects, watch.latest))
        if told != watch.latest.owner:
            told = watch.latest.owner
            say(_waiting(watch, wait=wait))
        time.sleep(POLL_S)
        latest = watch.look(objects)
        if latest is None:
            say("The other launch has ended: this one goes on.")
            return None
        if _is_abandoned(latest):
            break
    return latest


class _Watch:
    """How long a heartbeat has stood still, by the clock of this process alone."""

    def __init__(self, latest: Holder) -> None:
        self.latest = latest
        self.glances = _age(latest) > STALE_S
        """Whether it looked stale from the first, and was not seen to beat since."""
        self._since = self._reached = time.monotonic()

    @property
    def patience_s(self) -> float:
        return GLANCE_S if self.glances else STALE_S

    @property
    def is_over(self) -> bool:
        return time.monotonic() - self._since >= self.patience_s

    def look(self, objects: Objects) -> Holder | None:
        """Look at the lease anew. While the storage is away nothing stands still: its holder may lack it too."""
        now = time.monotonic()
        try:
            latest = _read(objects)
        except OSError:
            if now - self._reached > STALE_S:
                raise
            self._since, self.glances = now, False
            return self.latest
        self._reached = now
        if latest is not None and latest != self.latest:
            self.latest, self._since, self.glances = latest, now, False
        return latest


def holder(objects: Objects) -> Holder | None:
    """Who runs the study now, as far as can be told at once; None where nobody does."""
    latest = _read(objects)
    if latest is None:
        return None
    lives = latest.lives()
    return latest if lives or (lives is None and _age(latest) < STALE_S) else None


def described(who: Holder) -> str:
    """Who runs a study, and since when it gave no sign."""
    return f"host {who.host}, process {who.pid}, last heartbeat {max(0, round(_age(who)))} s ago"


def _beat(objects: Objects, this: Holder, stop: threading.Event, say: Callable[[str], None]) -> None:
    """Renew the lease; where another launch has taken it (this one slept too long), stop as after SIGTERM."""
    while not stop.wait(HEARTBEAT_S):
        with suppress(OSError):  # a storage that is away for a while: the next beat may reach it
            latest = _read(objects)
            if latest is not None and latest.owner != this.owner:
                say(f"Another launch took this study over (host {latest.host}, process {latest.pid}): this one stops.")
                break
            if latest is None and _age(this) > STALE_S:  # taken over, and released since
                say(f"This launch gave no heartbeat for {_age(this):.0f} s, and its lease is gone since: it stops.")
                break
            this = replace(this, time=time.time())
            objects.write_json(layout.LEASE, asdict(this))
    else:
        return
    os.kill(os.getpid(), signal.SIGTERM)


_SHAPE: TypeAdapter[Holder | None] = TypeAdapter(Holder | None)


def _read(objects: Objects) -> Holder | None:
    with suppress(DamagedError, ValidationError):  # whoever wrote it writes it anew within a heartbeat
        return _SHAPE.validate_python(objects.read_json(layout.LEASE))
    return None


def _age(latest: Holder) -> float:
    """Seconds since the last heartbeat, as far as the clocks agree."""
    return time.time() - latest.time


def _is_abandoned(latest: Holder) -> bool:
    """Whether a holder is dead without anybody watching it."""
    lives = latest.lives()
    return lives is False or (lives is None and _age(latest) > FORGOTTEN_S)


def _waiting(watch: _Watch, *, wait: bool) -> str:
    ways_out = " Ctrl-C leaves; --no-wait refuses at once." if wait else ""
    return (
        f"Another launch runs this study ({described(watch.latest)}): waiting until it ends, or until its heartbeat "
        f"has stood still for {watch.patience_s:g} s.{ways_out}"
    )


def _refusal(objects: Objects, other: Holder) -> str:
    return f"{redacted(objects.uri)}: another launch runs this study ({described(other)}); try again once it has ended"
