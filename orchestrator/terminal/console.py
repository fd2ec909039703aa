"""Where the command writes what the user reads: a console that outlives its reader.

A pipe that was closed (``| head``) or a full disk behind stdout must not end a study that runs for days.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from typing import TextIO

from rich.console import Console
from rich.text import Text

from orchestrator.terminal.formats import duration
from orchestrator.terminal.live_frame import live_region
from orchestrator.terminal.notebook import in_notebook

PLAIN_WIDTH = 120
"""Columns where there is no terminal to ask."""
SILENCE_S = 1.0
"""How long something may take before the user is told what it is."""
LONG_S = 5.0
"""From when on what took long keeps a line on a terminal."""
HEARTBEAT_S = 60.0
"""Longest silence where there is no terminal: whoever reads a log takes a longer one for the end."""


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
        except UnicodeEncodeError:  # a terminal of another alphabet
            encoding = self._stream.encoding or "ascii"
            return self._stream.write(text.encode(encoding, "replace").decode(encoding))
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
    """A console on today's stdout, the same for all who ask: Ray's own output is led away from it later."""
    if _console and _console[0][0] is sys.stdout:
        return _console[0][1]
    out: TextIO = LastingOutput(sys.stdout)  # type: ignore[assignment]  # as much of a TextIO as rich uses
    plain = in_notebook() or not sys.stdout.isatty()  # a notebook's stdout calls itself a terminal, and is none
    width, terminal = (PLAIN_WIDTH, False) if plain else (None, None)
    console = Console(file=out, width=width, force_terminal=terminal, force_jupyter=False)
    _console[:] = [(sys.stdout, console)]
    return console


def say(console: Console, line: str) -> None:
    """Print a line as it is: no markup, no highlighting, no wrapping."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def tell(console: Console, sentence: str) -> None:
    """Print a sentence, on a terminal wrapped between words: for what is read, and not pasted or searched for."""
    if console.is_terminal:
        console.print(Text(sentence), highlight=False)
    else:
        say(console, sentence)


@contextmanager
def announced(console: Console, line: str) -> Iterator[None]:
    """Say what is being done, unless it is done within ``SILENCE_S``, and for how long while it lasts."""
    over, began = Event(), time.monotonic()
    thread = Thread(target=_announce, args=(console, line, over, began), name="announcement", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(SILENCE_S)  # before what follows is written


def _announce(console: Console, line: str, over: Event, began: float) -> None:
    if over.wait(SILENCE_S):
        return
    if console.is_terminal and _counting.acquire(blocking=False):
        try:
            _count(console, line, over, began)
        finally:
            _counting.release()
        return
    say(console, line)
    while not over.wait(HEARTBEAT_S):
        say(console, f"{line}: {duration(time.monotonic() - began)} so far")


def _count(console: Console, line: str, over: Event, began: float) -> None:
    """Show the seconds until it is over; where they were many, leave a line that says how many."""

    def so_far() -> Text:
        return Text(f"{line} ... {duration(time.monotonic() - began)}")

    with live_region(console, so_far, redirect=False):
        console.show_cursor(True)  # whatever ends the process meanwhile leaves a terminal with a cursor
        over.wait()
    if (seconds := time.monotonic() - began) >= LONG_S:
        say(console, f"{line}: {duration(seconds)}")


_counting = Lock()
"""Held by the one who counts on the terminal."""
_console: list[tuple[TextIO, Console]] = []
"""The stdout that was last asked for, and its console."""
