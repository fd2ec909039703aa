"""What the user sees while a study runs in a notebook: one place of the cell's output, drawn anew.

The picture is the live table of terminals. IPython is asked only where it is there already: nothing here needs it.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from io import StringIO
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.text import Text

from orchestrator.store.trial_record import Record, State

SHORTEST_S = 0.5
"""Between two pictures."""
REFRESH_S = 3.0
"""After which the picture is drawn anew though no epoch ended: it says how long they take."""
WIDTH, HEIGHT = 100, 40
"""Of a picture, in letters and lines."""
ENDED = 8
"""Trials that ended last and keep their line."""
_PAGE = '<pre style="white-space: pre; overflow-x: auto; line-height: 1.3; font-family: monospace">{code}</pre>'


class Cell(Protocol):
    """A place in a cell's output; IPython's ``DisplayHandle`` is one."""

    def update(self, obj: object) -> object:
        """Show something else there."""


class Picture:
    """A picture that notebooks show as HTML, and others as text."""

    def __init__(self, renderable: RenderableType) -> None:
        console = Console(
            file=StringIO(), record=True, width=WIDTH, height=HEIGHT, force_terminal=True, force_jupyter=False,
            color_system="truecolor", legacy_windows=False,
        )  # fmt: skip
        console.print(renderable)
        self._html = console.export_html(inline_styles=True, code_format=_PAGE, clear=False)
        self._text = console.export_text()

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return "\n".join(line.rstrip() for line in self._text.splitlines())


class NotebookDisplay:
    """The live table in a cell, and the trials that ended last.

    Args:
        frame: The live table as it is now.
        ended: How a trial ended, in one line.
        listen: Takes every record before it is drawn.
        cell: Where.
    """

    def __init__(
        self,
        frame: Callable[[], RenderableType],
        ended: Callable[[Record], str],
        listen: Callable[[Record], object],
        cell: Cell,
    ) -> None:
        self._frame, self._ended, self._listen, self._cell = frame, ended, listen, cell
        self._lines: deque[str] = deque(maxlen=ENDED)
        self._drawn = 0.0
        self._lock, self._over = threading.Lock(), threading.Event()

    def __enter__(self) -> Self:
        self._draw()
        threading.Thread(target=self._refresh, name="notebook display", daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        if not self._over.is_set():
            self._over.set()
            self._draw()

    def update(self, record: Record) -> None:
        """Take a trial's latest record; it is drawn at once where the last picture is old enough."""
        self._listen(record)
        if record.state is not State.RUNNING:
            self._lines.append(self._ended(record))
        if time.monotonic() - self._drawn >= SHORTEST_S:
            self._draw()

    def _refresh(self) -> None:
        while not self._over.wait(REFRESH_S):
            if time.monotonic() - self._drawn >= REFRESH_S:
                self._draw()

    def _draw(self) -> None:
        with self._lock:
            self._drawn = time.monotonic()
            lines = [Text(line, overflow="fold") for line in self._lines]
            self._cell.update(Picture(Group(*lines, self._frame())))


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def notebook_cell() -> Cell | None:
    """A new place in the output of the cell that runs; None outside of a notebook."""
    if not in_notebook():
        return None
    from IPython.display import display

    cell: Cell = display(Picture(Text("")), display_id=True)  # type: ignore[no-untyped-call]
    return cell
