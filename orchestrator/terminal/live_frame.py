"""A region at the bottom of a terminal that is redrawn in place, and survives that the terminal is resized.

Rich leaves the cursor behind what it drew, and counts the lines on its way back. A terminal that became narrower has
wrapped them meanwhile, and pushed some out of reach. Here the cursor waits in front of what was drawn, so that there is
nothing to count: what is drawn anew begins where it stands.
"""

from collections.abc import Callable

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.control import Control
from rich.live import Live
from rich.live_render import LiveRender
from rich.segment import ControlType, Segment

PER_SECOND = 4
"""How often the region is drawn anew."""


_ERASE_BELOW = "\r\x1b[K\x1b7\x1b[B\r\x1b[J\x1b8"
"""Erases the cursor's line, then all below it: tmux would keep in its scrollback a screen that is erased as a whole."""


class Frame(LiveRender):
    """What is drawn, with the cursor in front of it."""

    def __init__(self) -> None:
        super().__init__("", vertical_overflow="crop")

    def position_cursor(self) -> Control:
        """Erase what was drawn."""
        return _raw(_ERASE_BELOW)

    def restore_cursor(self) -> Control:
        """Erase what was drawn, from the line below its first one, to which rich has gone."""
        return _raw(f"\x1b[A{_ERASE_BELOW}" if self._shape else _ERASE_BELOW)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw as many lines as there is room for, and go back in front of them."""
        lines = console.render_lines(self.renderable, options, pad=False)[: max(1, options.size.height - 1)]
        self._shape = Segment.get_shape(lines)
        for place, line in enumerate(lines):
            yield from line
            if place < len(lines) - 1:
                yield Segment.line()
        yield _raw(f"\r\x1b[{len(lines) - 1}A" if len(lines) > 1 else "\r").segment


def _raw(codes: str) -> Control:
    """Codes for which rich has no name."""
    control = Control(ControlType.CARRIAGE_RETURN)
    control.segment = Segment(codes, None, [(ControlType.CARRIAGE_RETURN,)])
    return control


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
    live._live_render = Frame()  # no public name, rich 15.0
    return live
