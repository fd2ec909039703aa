"""Where the command writes what the user reads: a console that outlives its reader.

A pipe that was closed (``| head``) or a full disk behind stdout must not end a study that runs for days.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import TextIO

from rich.console import Console

from orchestrator.terminal.notebook import in_notebook

PLAIN_WIDTH = 120
"""Columns where there is no terminal to ask."""
SILENCE_S = 1.0
"""How long something may take before the user is told what it is."""


class LastingOutput:
    """A text stream that falls silent, for good, at the first write that fails."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        """What else rich asks for is the stream's: its encoding, descriptor, whether it is a terminal."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or give up writing."""
        try:
            return self._stream.write(text)
        except OSError:
            self._fall_silent()
            return len(text)

    def flush(self) -> None:
        """Flush, or give up writing."""
        try:
            self._stream.flush()
        except OSError:
            self._fall_silent()

    def _fall_silent(self) -> None:
        """Lead the descriptor to nowhere: what is still buffered, and the interpreter's last flush, go there too."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def open_console() -> Console:
    """A console on today's stdout: Ray's own output is led away from it later."""
    out: TextIO = LastingOutput(sys.stdout)  # type: ignore[assignment]  # as much of a TextIO as rich uses
    plain = in_notebook() or not sys.stdout.isatty()  # a notebook's stdout calls itself a terminal, and is none
    width, terminal = (PLAIN_WIDTH, False) if plain else (None, None)
    return Console(file=out, width=width, force_terminal=terminal, force_jupyter=False)


def say(console: Console, line: str) -> None:
    """Print a line as it is: no markup, no highlighting, no wrapping."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def announced(console: Console, line: str) -> Iterator[None]:
    """Say what is being done, unless it is done within ``SILENCE_S``."""
    timer = Timer(SILENCE_S, say, (console, line))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
