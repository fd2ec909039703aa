"""A stop for a launch that is a guest in another's process, such as a notebook. It never ends the process."""

import time

from orchestrator.driver.stop import SWALLOWED_S, Stop


class GuestStop(Stop):
    """Whether a launch is asked to stop, in a process that goes on after it.

    Where a launch of its own process would leave without waiting any longer (after a second signal, or where a section
    does not end), this one interrupts the main thread wherever it is. What was to be done last the launch then does as
    it unwinds. A main thread that hangs in C is left to whoever owns the process.
    """

    def __init__(self, command: str) -> None:
        super().__init__(command, leave=_stay)
        self._insisted = False

    def close(self) -> None:
        """Give the signals back where an interruption in the last moment kept ``with`` from it."""
        self._shields += 1
        self._over.set()
        self._signals.give_back()

    def _leave_now(self) -> None:
        """Interrupt at once, in whatever section."""
        if not self._insisted:
            self.say("stopping now: what is in flight is given up")
        self._insisted = True
        self._signals.wake_main_thread()

    def _is_due(self) -> bool:
        return super()._is_due() or (self._insisted and time.monotonic() - self._interrupted >= SWALLOWED_S)


def _stay(_code: int) -> None:
    """Do not end the process."""
