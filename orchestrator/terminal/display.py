"""What the user sees while a study runs: a live table on a terminal, plain lines without control codes elsewhere."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.store.ranking import best
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Objective
from orchestrator.terminal import notebook
from orchestrator.terminal.console import say
from orchestrator.terminal.formats import duration
from orchestrator.terminal.notebook import NotebookDisplay, notebook_cell
from trainable.evaluate.metrics.names import EPOCH_SECONDS, GPU_MEMORY
from trainable.failure import GIB

PLAIN_INTERVAL_SECONDS = 20.0
"""Shortest time between two progress lines where there is no terminal; ended trials are always printed."""


@dataclass
class Progress:
    """Counts and forecasts of a running study.

    Args:
        total: Trials of the study, references included.
        epochs_per_trial: Epochs of a trial that is not stopped early.
        objective: What is optimised; the first of several.
        known: Records of earlier launches.
        used: GPU-hours and the like that were used, for the progress line; None where nothing is to be said.
        trouble: What the user should know of the launch itself, such as that MLflow is behind; None while all is well.
        stage: What runs: the search, or a comparison.
        inherited: Epochs that trials which have not ended take over from prefixes, as far as that is known.
    """

    total: int
    epochs_per_trial: int
    objective: Objective
    known: Iterable[Record] = ()
    trouble: Callable[[], str | None] = lambda: None
    stage: str = "search"
    inherited: int = 0
    used: Callable[[], str | None] = lambda: None
    records: dict[str, Record] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.records |= {record.key: record for record in self.known if record.state.final}
        self._before = {record.key: len(record.epochs) for record in self.known}
        """Epochs of each trial that earlier launches ran, as far as they are not run again."""

    def update(self, record: Record) -> None:
        """Take a trial's latest record."""
        first = self._epochs_done() == 0
        self.records[record.key] = record
        before = max(self._before.get(record.key, 0), record.planned.inherited)
        self._before[record.key] = min(before, len(record.epochs))
        if first and self._epochs_done() and EPOCH_SECONDS in record.epochs[-1]:
            self.started = time.monotonic() - record.epochs[-1][EPOCH_SECONDS]  # what came before was start-up

    def count(self, *states: State) -> int:
        """Trials in one of ``states``."""
        return sum(record.state in states for record in self.records.values())

    def running(self) -> list[Record]:
        """Trials at work."""
        return [record for record in self.records.values() if record.state is State.RUNNING]

    def line(self) -> str:
        """The whole state in one line."""
        done = self.count(State.COMPLETE, State.PRUNED)
        parts = [] if self.stage == "search" else [self.stage]
        parts += [
            f"{done}/{self.total} done, {len(self.running())} running, {self.count(State.FAILED)} failed",
            f"{self._epochs_done() + sum(self._before.values())}/{self.total * self.epochs_per_trial} epochs",
        ]
        if shared := self._epochs_shared():
            parts.append(f"{shared} epochs from shared prefixes")
        top = best(self.records.values(), self.objective)
        if top is not None:
            parts.append(f"best {self.objective.metric} {top.epochs[-1][self.objective.metric]:.4f} ({top.key})")
        eta = self.eta_seconds()
        parts.append(f"ETA {duration(eta)}" if eta is not None else "ETA after the first epoch")
        parts += filter(None, (self.used(), self.trouble()))
        return " · ".join(parts)

    def eta_seconds(self) -> float | None:
        """Seconds until the last epoch at the pace of this launch; None before its first epoch."""
        done = self._epochs_done()
        if done == 0:
            return None
        ended = {key for key, record in self.records.items() if record.state.final}
        begun = sum(len(record.epochs) for key, record in self.records.items() if key not in ended)
        begun += sum(epochs for key, epochs in self._before.items() if key not in self.records)
        remaining = (self.total - len(ended)) * self.epochs_per_trial - begun
        remaining -= max(0, self.inherited - self._epochs_shared())
        # at the first result the trials beside that one are about as far
        return max(0.0, remaining * (time.monotonic() - self.started) / max(done, len(self.running())))

    def _epochs_shared(self) -> int:
        """Epochs that trials took over from prefixes."""
        return sum(min(record.planned.inherited, len(record.epochs)) for record in self.records.values())

    def _epochs_done(self) -> int:
        """Epochs that this launch has run."""
        return sum(len(record.epochs) - self._before.get(key, 0) for key, record in self.records.items())


class PlainDisplay:
    """One line per ended trial and a progress line now and then."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress = progress
        self._console = console
        self._printed = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._print(self._progress.line())

    def update(self, record: Record) -> None:
        """Print the trial when it ended, or the progress when it is due."""
        self._progress.update(record)
        if record.state is not State.RUNNING:
            self._print(ended_line(record, self._progress.objective.metric))
        elif record.epochs and time.monotonic() - self._printed >= PLAIN_INTERVAL_SECONDS:
            self._print(self._progress.line())

    def _print(self, line: str) -> None:
        self._printed = time.monotonic()
        say(self._console, line)


class LiveDisplay:
    """A table of the running trials under the progress line, redrawn in place."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress = progress
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    def update(self, record: Record) -> None:
        """Keep the record for the next frame; an ended trial scrolls by above the table."""
        self._progress.update(record)
        if record.state is not State.RUNNING:
            line = ended_line(record, self._progress.objective.metric)
            self._live.console.print(line, markup=False, highlight=False)

    def _render(self) -> Group:
        metric = self._progress.objective.metric
        running = self._progress.running()
        on_gpus = any(record.last(GPU_MEMORY) is not None for record in running)
        table = Table("trial", "epoch", metric, *(["GPU memory"] if on_gpus else []), box=None, padding=(0, 2))
        for record in running:
            value, memory = record.last(metric), record.last(GPU_MEMORY)
            epochs = f"{len(record.epochs)}/{record.planned.epochs}"
            figures = ["" if value is None else f"{value:.4f}", "" if memory is None else f"{memory / GIB:.1f} GiB"]
            table.add_row(record.key, epochs, *figures[: 1 + on_gpus])
        return Group(Text(self._progress.line(), style="bold"), table)


def build_display(progress: Progress, console: Console) -> LiveDisplay | PlainDisplay | NotebookDisplay:
    """The live display on a terminal and in a notebook, plain lines elsewhere."""
    if console.is_terminal:
        return LiveDisplay(progress, console)
    cell = notebook_cell()
    if cell is None:
        return PlainDisplay(progress, console)
    paper = Console(file=StringIO(), width=notebook.WIDTH, height=notebook.HEIGHT, force_jupyter=False)
    ended = partial(ended_line, metric=progress.objective.metric)
    return NotebookDisplay(LiveDisplay(progress, paper)._render, ended, progress.update, cell)


def ended_line(record: Record, metric: str) -> str:
    """How a trial ended, in one line."""
    value = record.last(metric)
    score = "" if value is None else f"  {metric} {value:.4f}"
    reason = f"  {record.reason}" if record.reason else ""
    return f"{record.key}  {record.state}  {len(record.epochs)} epochs{score}{reason}"
