"""What a command shows on a terminal: run in one, followed on a small screen, drawn as SVG.

The screen knows what rich writes: words, new lines, colours, the cursor up and to the left, erased lines.
"""

import codecs
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

from rich.console import Console
from rich.text import Text

CONTROL = re.compile(
    r"\x1b\[(?P<arguments>[?0-9;]*)(?P<letter>[A-Za-z])|\x1b\](?:[^\x07\x1b]*)(?:\x07|\x1b\\)|\x1b[()][A-Z0-9]"
)
FONT_FACE = re.compile(r"@font-face\s*\{[^}]*\}")
"""Rich's SVG loads a font from elsewhere; a picture of the documents loads nothing."""


class Screen:
    """Lines of cells, each a sign and the colours it has; grows downwards, as a terminal and what has scrolled away."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.lines: list[list[tuple[str, str]]] = [[]]
        self.row = self.column = 0
        self._style = ""

    def feed(self, text: str) -> None:
        """Take what a command wrote; a control sequence must not be cut in two."""
        place = 0
        for control in CONTROL.finditer(text):
            self._write(text[place : control.start()])
            if control["letter"]:
                self._obey(control["letter"], control["arguments"])
            place = control.end()
        self._write(text[place:])

    def _write(self, text: str) -> None:
        for sign in text:
            if sign == "\n":
                self.row += 1
                self._reach()
            elif sign == "\r":
                self.column = 0
            elif sign >= " ":
                if self.column >= self.width:
                    self.row, self.column = self.row + 1, 0
                self._reach()
                line = self.lines[self.row]
                line.extend([(" ", "")] * (self.column + 1 - len(line)))
                line[self.column] = (sign, self._style)
                self.column += 1

    def _obey(self, letter: str, arguments: str) -> None:
        first = int(arguments) if arguments.isdigit() else 1
        if letter == "m":
            self._style = "" if arguments in ("", "0") else self._style + f"\x1b[{arguments}m"
        elif letter == "A":
            self.row = max(0, self.row - first)
        elif letter == "B":
            self.row += first
            self._reach()
        elif letter == "G":
            self.column = first - 1
        elif letter == "K":
            del self.lines[self.row][0 if arguments == "2" else self.column :]

    def _reach(self) -> None:
        while len(self.lines) <= self.row:
            self.lines.append([])

    def text(self, last: int | None = None) -> Text:
        """The last lines that are not empty at the end, in their colours."""
        lines = ["".join(f"{style}{sign}\x1b[0m" for sign, style in line) for line in self.lines]
        while lines and not lines[-1]:
            lines.pop()
        return Text.from_ansi("\n".join(lines[-last:] if last else lines))


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
    screen, kept, decoder = Screen(size[0]), None, codecs.getincrementaldecoder("utf-8")("replace")
    rest, looked = "", time.monotonic()
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # how a terminal says that nobody writes to it any more
            break
        rest += decoder.decode(data)
        whole = (
            rest.rfind("\x1b") if "\x1b" in rest[-20:] and not CONTROL.match(rest[rest.rfind("\x1b") :]) else len(rest)
        )
        screen.feed(rest[:whole])
        rest = rest[whole:]
        if time.monotonic() - looked > 0.5:
            looked = time.monotonic()
            now = screen.text()
            kept = now if wanted(now.plain) else kept
    os.close(ours)
    return kept, screen.text(), process.wait()


def as_svg(text: Text, width: int, title: str) -> str:
    """A terminal's window with this text, without a font from elsewhere."""
    console = Console(record=True, width=width, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print(text, soft_wrap=False, overflow="fold")
    svg = FONT_FACE.sub("", console.export_svg(title=title))
    return svg.replace("Fira Code, monospace", "DejaVu Sans Mono, Menlo, Consolas, monospace")
