"""A region at the bottom of a terminal that is redrawn in place, and survives that the terminal is resized.

Rich counts the lines that it drew. A terminal that became narrower has wrapped them meanwhile, so that more rows are to
be erased than lines were drawn, and what is not erased stays in the scrollback.
"""

from collections.abc import Callable

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.control import Control
from rich.live import Live
from rich.live_render import LiveRender
from rich.segment import ControlType, Segment

PER_SECOND = 4
"""How often the region is drawn anew."""


class Frame(LiveRender):
    """What is drawn, with the rows that it takes on the terminal as it is now."""

    def __init__(self, console: Console) -> None:
        super().__init__("", vertical_overflow="crop")
        self._console = console
        self._widths: list[int] = []

    def position_cursor(self) -> Control:
        """Erase the region, and go to its first row."""
        rows = self._rows()
        up = ((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)) * (rows - 1)
        return Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2), *up) if rows else Control()

    def restore_cursor(self) -> Control:
        """Erase the region from the row below it."""
        up = ((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)) * self._rows()
        return Control(ControlType.CARRIAGE_RETURN, *up)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the lines, none wider than the terminal, without the blanks behind them: those would wrap too."""
        lines = console.render_lines(self.renderable, options, pad=False)[: max(1, options.size.height - 1)]
        self._shape = Segment.get_shape(lines)
        self._widths = [sum(cell_len(segment.text) for segment in line if not segment.control) for line in lines]
        for place, line in enumerate(lines):
            yield from line
            if place < len(lines) - 1:
                yield Segment.line()

    def _rows(self) -> int:
        width = max(1, self._console.width)
        return sum(max(1, -(-drawn // width)) for drawn in self._widths)


def live_region(console: Console, render: Callable[[], RenderableType], *, redirect: bool) -> Live:
    """A region that shows what ``render`` returns, and leaves nothing behind.

    Args:
        console: Where.
        render: Called anew for each frame, in a thread.
        redirect: Whether what others print goes above the region.
    """
    live = Live(
        get_renderable=render, console=console, refresh_per_second=PER_SECOND, transient=True,
        redirect_stdout=redirect, redirect_stderr=redirect,
    )  # fmt: skip
    live._live_render = Frame(console)  # no public name, rich 15.0
    return live
