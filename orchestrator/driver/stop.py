"""Whether a launch is asked to stop, and how it then ends; from its first line to its last.

A launch is a row of sections: each says how long a stop waits before it interrupts the main thread (with an
`Interruption`), and when it waits no longer but ends the process from a thread of its own. A second signal does that at
once. Signals ask to stop, and so does the launch itself where its time is over or Ray is gone. Imports nothing heavy.
"""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Generic, Self, TypeVar

from orchestrator.driver.signal_owner import SignalOwner
from orchestrator.driver.stop_sections import Section, ending, preparing

BOUNCE_S = 2.0
"""An equal signal this soon after the first is the same one: ``timeout`` sends it to the command and to its group, and
SLURM to the command and to the batch script, which may pass it on."""
CTRL_C_BOUNCE_S = 0.2
"""The same for SIGINT, which people send: a second Ctrl-C is meant."""
HOPELESS_S = 5.0
"""How long the main thread may take to leave a section whose end nobody can wait for any more."""
NO_PROGRESS = 3
"""Exit code of a launch that must not be given again, as it would come no further."""
POLL_S = 0.1
SWALLOWED_S = 3.0
"""A main thread that goes on so long after an interruption has swallowed it."""
LAST_WORD_S = 4.0
"""How long each thing may take that is still done when nothing is waited for any more."""

T = TypeVar("T")


class Interruption(KeyboardInterrupt):
    """What a stop raises in the main thread.

    Ray's C++ lets only a ``KeyboardInterrupt`` through. It is none itself: Python exits with 130 where one of these
    came by a string that ``exec`` runs, though it was caught.
    """


class Stop(AbstractContextManager["Stop"]):
    """Whether, and by what, a launch is asked to stop.

    Entered in a thread other than the main one it owns no signal, and nobody asks.

    Args:
        command: What the user types to continue.
        leave: Ends the process with an exit code; tests have their own.
    """

    def __init__(self, command: str, leave: Callable[[int], object] = os._exit) -> None:
        self.say: Callable[[str], None] = _to_stderr
        """Shows the user a line."""
        self.why: str | None = None
        """What asked to stop; None while nothing has."""
        self.progressed = False
        """Whether the launch has kept an epoch."""
        self.bounded = False
        """Whether who asked will give the command again: then a launch without progress has an exit code of its own."""
        self.abrupt = False
        """Whether the process must end without Python's own clearing up, which would wait for a Ray that is gone."""
        self.command = command
        """Continues the study."""
        self._leave = leave
        self._code: int | None = None
        self._beyond: Callable[[], str] = str
        self._first: signal.Signals | None = None
        self._asked = self._signalled = math.inf
        self._hopeless = math.inf
        self._section = preparing()
        self._settled = False
        self._shields = 0
        self._told = False
        self._interrupted = -math.inf
        self._entered = 0
        self._finished: int | None = None
        self._over = threading.Event()
        self._leaving, self._asking = threading.Lock(), threading.Lock()
        self._last: list[Callable[[], object]] = []
        self._signals = SignalOwner(self.take, self._interrupt)

    @property
    def requested(self) -> bool:
        """Whether anything asked to stop."""
        return self.why is not None

    @property
    def asked_s(self) -> float:
        """Seconds since the launch was asked to stop; negative where it was not."""
        return time.monotonic() - self._asked

    @property
    def exit_code(self) -> int | None:
        """130 for Ctrl-C, 143 for any other signal, what `ask` was given, None where nobody asked."""
        return NO_PROGRESS if self._stuck else self._code

    @property
    def end_in_words(self) -> str:
        """How the launch ended, for the user."""
        why = "Interrupted" if self._first else f"Stopped: {self.why}"
        stuck = "; it kept no epoch, and given again as it is it would keep none either"
        return f"{why}{stuck if self._stuck else ''}{self._beyond()}"

    @property
    def _stuck(self) -> bool:
        return self.requested and self.bounded and not self.progressed and self._code not in (130, NO_PROGRESS)

    def __enter__(self) -> Self:
        """Own the signals; once more inside, nothing happens."""
        self._entered += 1
        if self._entered == 1 and threading.current_thread() is threading.main_thread():
            self._signals.own()
        return self

    def __exit__(self, *exc: object) -> None:
        """Give the signals back to whoever had them."""
        self._entered -= 1
        if self._entered == 0:
            self._over.set()
            self._signals.give_back()

    def finished(self, code: int) -> int:
        """The launch has ended and told everything: a signal from now on only hastens the exit, with this code."""
        self._finished = code
        self._over.set()
        if self.abrupt:
            sys.stdout.flush()
            sys.stderr.flush()
            self._leave(code)
        return code

    @contextmanager
    def section(
        self, awaits: Callable[[], str], *, patience_s: float, limit_s: float, needs_ray: bool = False
    ) -> Iterator[None]:
        """A stretch in which a stop waits for something: it says so at once."""
        self._section = Section(awaits, 0.0, patience_s, limit_s, needs_ray)
        try:
            yield
        finally:
            self._section = ending() if self._settled else preparing()

    def settle(self) -> None:
        """From now on there is something to write down: outside of sections nothing interrupts the main thread."""
        self._settled = True
        self._section = ending()

    def shielded(self, manager: AbstractContextManager[T]) -> "_Shielded[T]":
        """The context manager, entered and left without an interruption halfway."""
        return _Shielded(self, manager)

    @contextmanager
    def shield(self) -> Iterator[None]:
        """A stretch that must come to its end, such as Ray's start; handlers that it replaced are ours again."""
        self._shields += 1
        try:
            yield
        finally:
            self._signals.arm()
            self._shields -= 1
        self._interrupt()  # at once, not when our thread looks again: the next section may be another

    def lastly(self, action: Callable[[], object]) -> None:
        """Do this also when nothing is waited for any more, before what was named earlier; in another thread."""
        self._last.append(action)

    def take(self, number: signal.Signals) -> None:
        """Take a signal: the first asks to stop, a later one ends the process."""
        bounce_s = CTRL_C_BOUNCE_S if number is signal.SIGINT else BOUNCE_S
        if self._finished is not None:
            self._leave(self._finished)
        elif self._first is None:
            self._first, self._signalled = number, time.monotonic()
            self.ask(f"interrupted by {number.name}", 130 if number is signal.SIGINT else 143)
        elif number is not self._first or time.monotonic() - self._signalled > bounce_s:
            _apart(self._leave_now)

    def ask(self, why: str, code: int, beyond: Callable[[], str] = str) -> None:
        """Ask to stop, for a reason and with an exit code; the first is heard. ``beyond`` is told at the end."""
        with self._asking:
            if self.requested:
                return
            self._asked, self._code, self.why, self._beyond = time.monotonic(), code, why, beyond
        _apart(self._see_it_through)

    def give_up(self, why: str) -> None:
        """Ask to stop, and let nothing be waited for that needs Ray: it is gone, so that no epoch in flight ends."""
        self.abrupt = True
        self._hopeless = time.monotonic()
        self.ask(why, 143)

    def _interrupt(self) -> None:
        """Interrupt the main thread, in which this runs, if it can be and is due."""
        if self._is_due() and not self._shields:
            self._interrupted = time.monotonic()
            raise Interruption

    def _is_due(self) -> bool:
        recently = time.monotonic() - self._interrupted < SWALLOWED_S
        section = self._section
        waits_in_vain = section.needs_ray and self._hopeless < math.inf
        return self.requested and not recently and (waits_in_vain or self._waited(section) >= section.patience_s)

    def _waited(self, section: Section) -> float:
        """How long a stop has waited in a section, in seconds."""
        return time.monotonic() - max(self._asked, section.entered)

    def _see_it_through(self) -> None:
        """Tell the user, interrupt the main thread in time, and end the process where that does not help."""
        while not self._over.is_set():
            self._look()  # a section is not kept while this thread waits: it may hold handles of Ray's
            self._over.wait(POLL_S)

    def _look(self) -> None:
        section = self._section
        waited = self._waited(section)
        waited_in_vain = time.monotonic() - max(self._hopeless, section.entered)
        if waited > section.limit_s or (section.needs_ray and waited_in_vain > HOPELESS_S):
            self._leave_now()
        if waited >= section.quiet_s and not self._told:
            self._told = True
            _apart(partial(self._tell, section.awaits)).join(POLL_S)  # before what it announces, if that is quick
        if self._is_due():
            self._signals.wake_main_thread()

    def _tell(self, awaits: Callable[[], str]) -> None:
        again = "Ctrl-C again" if self._first is signal.SIGINT else "a second signal"
        because = "" if self._first else f" ({self.why})"
        what = "no epoch in flight can end" if self._hopeless < math.inf else awaits()
        self.say(f"stopping{because}: {what}; {again} stops now")

    def _leave_now(self) -> None:
        """End the process, in order as far as that is quick: whatever hangs holds up nothing else."""
        if not self._leaving.acquire(blocking=False):
            return
        for action in reversed(self._last):
            _apart(action).join(LAST_WORD_S)
        at_once = f"Stopped: {self.why}" if self.abrupt else "Stopped at once"
        text = f"\n{at_once}; nothing that finished is lost. Continue with:  {self.command}"
        _apart(lambda: _to_stderr(text)).join(LAST_WORD_S)
        _end_children()
        self._leave(self.exit_code or 0)


class _Shielded(AbstractContextManager[T], Generic[T]):
    def __init__(self, stop: Stop, manager: AbstractContextManager[T]) -> None:
        self._stop, self._manager = stop, manager

    def __enter__(self) -> T:
        self._stop._shields += 1
        try:
            return self._manager.__enter__()
        finally:
            self._stop._shields -= 1  # no handler runs between here and the body of ``with``

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._stop._shields += 1
        try:
            return self._manager.__exit__(kind, error, trace)
        finally:
            self._stop._shields -= 1


def _apart(action: Callable[[], object]) -> threading.Thread:
    """Do something in a thread, so that it cannot hold up its caller."""

    def act() -> None:
        with suppress(Exception):  # whatever it is, the process is about to end
            action()

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def _to_stderr(line: str) -> None:
    """Write past Python's buffers: the main thread may hold their lock."""
    with suppress(OSError):
        os.write(2, f"{line}\n".encode(errors="replace"))


def _end_children() -> None:
    """Kill what this process started: a Ray of its own, workers included. A cluster that it joined is none of it."""
    import psutil  # late: only the last moment needs it

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
