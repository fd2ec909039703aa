"""The one owner of the signals that ask a launch to stop.

SIGINT, SIGTERM, SIGUSR1 (SLURM's warning) and SIGHUP (unless it is ignored, as under nohup) are blocked in all threads,
and one thread of ours waits for them. Handlers alone would not do: Ray's C++ takes SIGTERM over while it starts and
leaves it deadly when it is left, Tune takes SIGUSR1, and the main thread runs no handler while it waits in C.
"""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
"""Signals that ask a launch to stop."""
_WAKE = signal.SIGURG
"""From our thread to the main thread: nobody else's, and without a handler it does nothing."""


class SignalOwner:
    """Owns the signals between `own` and `give_back`; not owning, its methods do nothing.

    Args:
        take: Takes each signal that asks to stop, in a thread of its own.
        woken: Runs in the main thread after `wake_main_thread`, and may raise there.
    """

    def __init__(self, take: Callable[[signal.Signals], object], woken: Callable[[], None]) -> None:
        self._take, self._woken = take, woken
        self._main = threading.get_ident()
        self._watcher: threading.Thread | None = None
        self._owning = False
        self.owned: set[signal.Signals] = set()
        """Signals that come here."""

    def own(self) -> None:
        """Take the signals over; to be called in the main thread, before others start."""
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self.owned = {number for number in ASKING if not (ignored and number is signal.SIGHUP)}
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*self.owned, _WAKE})
        self._handlers = {number: signal.getsignal(number) for number in (*self.owned, _WAKE)}
        self._main, self._owning = threading.get_ident(), True
        self._watcher = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._watcher.start()
        self.arm()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {_WAKE})
        _owners.add(self)

    def arm(self) -> None:
        """Set the handlers (anew); those of the signals serve threads that were there before they were blocked."""
        if self._watcher is not None:
            signal.signal(_WAKE, self._wake)
            for number in self.owned:
                signal.signal(number, self._forward)

    def give_back(self) -> None:
        """Give the signals back to whoever had them; once more where an interruption came in between."""
        if not self._owning:
            return
        watcher = self._watcher
        if watcher is not None and watcher.ident is not None:
            if watcher.is_alive():
                signal.pthread_kill(watcher.ident, _WAKE)
            watcher.join()
        self._watcher = None
        _owners.discard(self)
        for number, handler in self._handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        self._owning = False

    def wake_main_thread(self) -> None:
        """Let the main thread leave what it waits in, and call ``woken`` there."""
        if self._watcher is not None:
            signal.pthread_kill(self._main, _WAKE)

    def _watch(self) -> None:
        while True:
            number = signal.sigwait({*self.owned, _WAKE})
            if number == _WAKE:
                return
            self._take(signal.Signals(number))

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        if self._watcher is not None and self._watcher.ident is not None:
            signal.pthread_kill(self._watcher.ident, number)

    def _wake(self, _number: int, frame: FrameType | None) -> None:
        if not _is_in_extension(frame):
            self._woken()


_owners: set[SignalOwner] = set()


def _after_fork() -> None:
    """Let a child end as any process does; SIGUSR1 and SIGHUP sent to the whole group stay the launch's matter.

    Ray's processes are forked in this way, and die of either signal. What ``subprocess`` starts without a
    ``preexec_fn`` keeps the mask: end it with SIGKILL.
    """
    for owner in _owners:
        for number in owner.owned:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    _owners.clear()


os.register_at_fork(after_in_child=_after_fork)


def _is_in_extension(frame: FrameType | None) -> bool:
    """Whether a compiled module is being loaded: interrupted, it fails as anything, and may print a traceback."""
    while frame is not None:
        if frame.f_code.co_qualname.startswith("ExtensionFileLoader."):
            return True
        frame = frame.f_back
    return False
