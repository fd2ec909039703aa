"""The running trials as a table: what each tries, how far it is, whether it is better than what it is to beat."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from orchestrator.store.short_picks import short_picks
from orchestrator.store.trial_record import Planned, Record
from orchestrator.terminal.beside import arrow
from orchestrator.terminal.formats import duration, reference_in_words, seconds_in_short
from orchestrator.terminal.progress import Progress
from trainable.evaluate.metrics.names import EPOCH_SECONDS, GPU_MEMORY
from trainable.failure import GIB

GAP = 2
"""Columns between two cells."""
MOST_BESIDE = 2
"""Lines that what a trial tries may take beside its figures; else it stands below them, on the whole width."""
INDENT = 4

Row = tuple[Text, ...]


def tries(planned: Planned) -> str:
    """What a trial tries, in short: ``frequency, encoder.2, p_max 0.12``; of a comparison its arm and its seed."""
    if planned.arm is not None and planned.block is not None:
        return f"{planned.arm}, seed {planned.block + 1}"
    if planned.kind == "prefix":
        return f"shared first {planned.epochs} epochs"
    if planned.kind == "reference":
        return reference_in_words(planned.key) or "reference"
    return short_picks(planned.picks)


@dataclass(frozen=True)
class _Columns:
    heads: tuple[str, ...]
    rows: list[Row]

    @property
    def widths(self) -> list[int]:
        cells = [[cell_len(head), *(row[at].cell_len for row in self.rows)] for at, head in enumerate(self.heads)]
        return [max(lengths) for lengths in cells]

    @property
    def width(self) -> int:
        return sum(self.widths) + GAP * (len(self.heads) - 1)


def running_table(progress: Progress, width: int, most_lines: int) -> list[Text]:
    """Lines of the table, none wider than the terminal and no more of them than there is room for."""
    every_one = progress.running()
    running = every_one[:most_lines]  # drawn anew several times a second: no more than can be seen
    if not running:
        return []
    columns = _fitting(progress, running, width)
    words = [tries(record.planned) for record in running]
    room = width - columns.width - GAP
    beside = room >= cell_len("tries") and all(len(wrapped(what, room)) <= MOST_BESIDE for what in words)
    lines = [_line(columns, tuple(map(Text, columns.heads)), Text("tries") if beside else None, room)]
    lines[0].stylize("dim")
    shown = 0
    for row, what in zip(columns.rows, words, strict=True):
        own = _row_lines(columns, row, what, beside=beside, room=room, width=width)
        if len(lines) + len(own) > most_lines - (shown + 1 < len(every_one)):
            break
        lines += own
        shown += 1
    if shown < len(every_one):
        lines.append(Text(f"and {len(every_one) - shown} more are running", style="dim"))
    return lines


def _fitting(progress: Progress, running: Sequence[Record], width: int) -> _Columns:
    """The columns as wide as there is room for: of the objective the name, or that it is one; memory where it fits."""
    on_gpus = any(record.last(GPU_MEMORY) is not None for record in running)
    full = f"{progress.objective.metric} {arrow(progress.objective)}"
    short = f"objective {arrow(progress.objective)}"
    for head, memory in ((full, on_gpus), (full, False), (short, False)):
        columns = _columns(progress, running, head, memory=memory)
        if columns.width <= width:
            return columns
    return _cut(columns, width)


def _columns(progress: Progress, running: Sequence[Record], head: str, *, memory: bool) -> _Columns:
    rival = progress.rival
    heads = ["trial", "epoch", "per epoch", head, *([f"beside {rival.name}"] if rival else [])]
    rows = []
    for record in running:
        value, gib = record.last(progress.objective.metric), record.last(GPU_MEMORY)
        cells = [record.key, f"{len(record.epochs)}/{record.planned.epochs}", _pace(progress, record)]
        row = [*map(Text, cells), Text("" if value is None else f"{value:.4f}")]
        if rival:
            distance = progress.distance(record)
            row.append(distance.text if distance else Text())
        rows.append((*row, *([Text("" if gib is None else f"{gib / GIB:.1f} GiB")] if memory else [])))
    return _Columns((*heads, *(["GPU memory"] if memory else [])), rows)


def _pace(progress: Progress, record: Record) -> str:
    """Seconds of the last epoch; of a trial without one how long it has been at work."""
    seconds = record.last(EPOCH_SECONDS)
    return f"{duration(progress.quiet_s(record))} so far" if seconds is None else seconds_in_short(seconds)


def _cut(columns: _Columns, width: int) -> _Columns:
    """The columns with the names of trials shortened, as a last resort."""
    room = max(8, columns.widths[0] - (columns.width - width))
    rows = [(Text(_shortened(row[0].plain, room)), *row[1:]) for row in columns.rows]
    return _Columns(columns.heads, rows)


def _shortened(name: str, width: int) -> str:
    return name if cell_len(name) <= width else f"{set_cell_size(name, width - 1)}…"


def _row_lines(columns: _Columns, row: Row, what: str, *, beside: bool, room: int, width: int) -> list[Text]:
    if beside:
        first, *rest = wrapped(what, room) or [""]
        indent = columns.width + GAP
        return [_line(columns, row, Text(first), room), *(Text(" " * indent + text, style="cyan") for text in rest)]
    own = [Text(" " * INDENT + text, style="cyan") for text in wrapped(what, width - INDENT)]
    return [_line(columns, row, None, 0), *own]


def _line(columns: _Columns, row: Row, what: Text | None, room: int) -> Text:
    """A line of padded cells; the first one is a name, the others figures."""
    line = Text(no_wrap=True, overflow="crop")
    for at, (cell, width) in enumerate(zip(row, columns.widths, strict=True)):
        blanks = " " * (width - cell.cell_len)
        line.append_text(cell + Text(blanks) if at == 0 else Text(" " * GAP + blanks) + cell)
    if what is not None:
        what.truncate(room)
        what.stylize("cyan")
        line.append(" " * GAP)
        line.append_text(what)
    line.rstrip()
    return line


def wrapped(words: str, width: int) -> list[str]:
    """Picks in lines, broken between two of them; one that is too long by itself is cut."""
    lines: list[str] = []
    for pick in words.split(", ") if words else []:
        if lines and cell_len(lines[-1]) + 2 + cell_len(pick) <= width:
            lines[-1] += f", {pick}"
        else:
            lines.append(_shortened(pick, width))
    return lines
