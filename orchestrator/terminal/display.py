"""What the user sees while a study runs: a live table on a terminal, plain lines without control codes elsewhere."""

import threading
import time
from functools import partial
from io import StringIO
from typing import Self

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.store.trial_record import Record, State
from orchestrator.terminal import notebook
from orchestrator.terminal.console import HEARTBEAT_S, say
from orchestrator.terminal.formats import duration
from orchestrator.terminal.live_frame import live_region
from orchestrator.terminal.notebook import NotebookDisplay, notebook_cell
from orchestrator.terminal.progress import Progress
from orchestrator.terminal.trial_table import INDENT, running_table, tries, wrapped

PLAIN_INTERVAL_SECONDS = 20.0
"""Shortest time between two progress lines where there is no terminal and epochs end; ended trials are always
printed."""
BAR_WIDTH = 40
MOST_NAMED = 3
"""Running trials that a heartbeat names."""


class PlainDisplay:
    """One line per trial that begins or ends, a progress line now and then, and a sign of life in long epochs."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress = progress
        self._console = console
        self._printed = time.monotonic()
        self._begun: set[str] = set()
        self._over = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        if not self._over.is_set():
            self._over.set()
            self._print(self._progress.line())

    def update(self, record: Record) -> None:
        """Print the trial when it begins or ends, or the progress when it is due."""
        self._progress.update(record)
        if record.state is not State.RUNNING:
            self._print(ended_line(record, self._progress))
        elif record.key not in self._begun:
            self._begun.add(record.key)
            after = f" after epoch {len(record.epochs)}" if record.epochs else ""
            self._print("  ".join(filter(None, [record.key, f"begins{after}", tries(record.planned)])))
        elif record.epochs and time.monotonic() - self._printed >= PLAIN_INTERVAL_SECONDS:
            self._print(self._progress.line())

    def _beat(self) -> None:
        while not self._over.wait(max(0.1, HEARTBEAT_S - (time.monotonic() - self._printed))):
            if time.monotonic() - self._printed >= HEARTBEAT_S:
                self._print(f"{self._progress.line()} · {self._at_work()}")

    def _at_work(self) -> str:
        """Which epochs are in flight, and for how long: those that last longest first."""
        longest = sorted(self._progress.running(), key=self._progress.quiet_s, reverse=True)
        named = [
            f"{record.key} in epoch {len(record.epochs) + 1} for {duration(self._progress.quiet_s(record))}"
            for record in longest[:MOST_NAMED]
        ]
        return ", ".join(named) or "no trial is running"

    def _print(self, line: str) -> None:
        self._printed = time.monotonic()
        say(self._console, line)


class LiveDisplay:
    """A table of the running trials under the progress of the stage, redrawn in place."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress, self._console = progress, console
        self._live = live_region(console, self._render, redirect=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    def update(self, record: Record) -> None:
        """Keep the record for the next frame; an ended trial scrolls by above the table."""
        self._progress.update(record)
        if record.state is not State.RUNNING:
            self._live.console.print(ended_text(record, self._progress, self._console.width))

    def _render(self) -> Group:
        progress, width = self._progress, self._console.width
        head: list[RenderableType] = [
            Text(" · ".join([*progress.counts(), progress.eta_in_words()]), style="bold"),
            _bar(progress),
            Text(" · ".join(progress.best_in_words())),
            *map(Text, progress.notes()),
        ]
        lines = sum(len(self._console.render_lines(part, pad=False)) for part in head)
        room = max(2, self._console.height - lines - 2)
        return Group(*head, *running_table(progress, width, room))


def _bar(progress: Progress) -> Table:
    """The epochs of the stage as a bar and in words."""
    done, total = progress.epochs
    row = Table.grid(padding=(0, 1))
    row.add_row(ProgressBar(total=max(1, total), completed=done, width=BAR_WIDTH), progress.epochs_in_words())
    return row


def build_display(progress: Progress, console: Console) -> LiveDisplay | PlainDisplay | NotebookDisplay:
    """The live display on a terminal and in a notebook, plain lines elsewhere."""
    if console.is_terminal:
        return LiveDisplay(progress, console)
    cell = notebook_cell()
    if cell is None:
        return PlainDisplay(progress, console)
    paper = Console(file=StringIO(), width=notebook.WIDTH, height=notebook.HEIGHT, force_jupyter=False)
    ended = partial(ended_line, progress=progress)
    return NotebookDisplay(LiveDisplay(progress, paper)._render, ended, progress.update, cell)


def ended_line(record: Record, progress: Progress) -> str:
    """How a trial ended, in one line: state, epochs, score, how far from what it is to beat, what it tried, why."""
    parts = [*_score(record, progress), progress.distance_in_words(record), tries(record.planned), record.reason or ""]
    return "  ".join(filter(None, parts))


def ended_text(record: Record, progress: Progress, width: int) -> Text:
    """The same for a terminal: in colour, and broken between what was picked where the line is too long."""
    head, distance = Text("  ".join(_score(record, progress))), progress.distance(record)
    if distance is not None:
        room = width - head.cell_len - 2
        words = (progress.distance_in_words(record), str(distance))
        fitting = next((word for word in words if cell_len(word) <= room), None)
        gap = f"\n{' ' * INDENT}" if fitting is None else "  "
        head += Text(gap) + Text(fitting or words[0], style=distance.style)
    what, why = tries(record.planned), record.reason or ""
    rest = "  ".join(filter(None, (what, why)))
    if "\n" not in head.plain and head.cell_len + 2 + cell_len(rest) <= width:
        return head + Text(f"  {rest}")
    below = [*wrapped(what, width - INDENT), *([why] if why else [])]
    return Text("\n").join([head, *(Text(" " * INDENT + line, style="dim") for line in below)])


def _score(record: Record, progress: Progress) -> list[str]:
    """The trial, its state, its epochs and its score."""
    value, count = record.last(progress.objective.metric), len(record.epochs)
    parts = [record.key, str(record.state), f"{count} epoch{'s' * (count != 1)}"]
    return parts + ([f"{progress.objective.metric} {value:.4f}"] if value is not None else [])
