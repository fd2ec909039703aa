"""What a command shows on a terminal: run in one, followed by an emulator (pyte), drawn as SVG."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path

from pyte.screens import Char, HistoryScreen
from pyte.streams import ByteStream
from rich.console import Console
from rich.style import Style
from rich.text import Text

FONT_FACE = re.compile(r"@font-face\s*\{[^}]*\}")
"""Rich's SVG loads a font from elsewhere; a picture of the documents loads nothing."""


PAST = 2000
"""Lines that scrolled away and are kept."""
_COLOURS = {"brown": "yellow", "brightbrown": "bright_yellow"}


def _style(sign: Char) -> Style:
    """How rich draws a sign; pyte calls yellow brown, and other colours by their hexadecimal digits."""
    ink = _COLOURS.get(sign.fg, sign.fg)
    if re.fullmatch("[0-9a-f]{6}", ink):
        ink = f"#{ink}"
    return Style(color=None if ink == "default" else ink.replace("bright", "bright_", 1), bold=sign.bold)


def _text(screen: HistoryScreen) -> Text:
    """The terminal with what scrolled away, in its colours, without the empty lines at the end."""
    rows = [*screen.history.top, *(screen.buffer[row] for row in range(screen.lines))]
    lines = [Text() for _ in rows]
    for line, row in zip(lines, rows, strict=True):
        for column in range(screen.columns):
            line.append(row[column].data, _style(row[column]))
        line.rstrip()
    while lines and not lines[-1]:
        lines.pop()
    return Text("\n").join(lines)


def on_terminal(
    command: Sequence[str], folder: Path, size: tuple[int, int], env: Mapping[str, str], wanted: Callable[[str], bool]
) -> tuple[Text | None, Text, int]:
    """Run a command in a terminal.

    Args:
        command: What is run.
        folder: Where.
        size: Columns and lines.
        env: Its environment.
        wanted: Tells by the plain text of the screen whether it is the one to keep.

    Returns:
        The last screen that was wanted, the last screen of all, and the exit code.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    terminal = {**env, "TERM": "xterm-256color", "COLUMNS": str(size[0]), "LINES": str(size[1])}
    process = subprocess.Popen(command, cwd=folder, env=terminal, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    screen, kept, looked = HistoryScreen(*size, history=PAST, ratio=1), None, time.monotonic()
    stream = ByteStream(screen)
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # how a terminal says that nobody writes to it any more
            break
        stream.feed(data)
        if time.monotonic() - looked > 0.5:
            looked = time.monotonic()
            now = _text(screen)
            kept = now if wanted(now.plain) else kept
    os.close(ours)
    return kept, _text(screen), process.wait()


def as_svg(text: Text, width: int, title: str) -> str:
    """A terminal's window with this text, without a font from elsewhere."""
    console = Console(record=True, width=width, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print(text, soft_wrap=False, overflow="fold")
    svg = FONT_FACE.sub("", console.export_svg(title=title))
    return svg.replace("Fira Code, monospace", "DejaVu Sans Mono, Menlo, Consolas, monospace")
