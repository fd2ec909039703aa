"""How figures, picks and tables are written for people."""

import re
from collections.abc import Iterable

from rich.box import SIMPLE
from rich.table import Column, Table

from orchestrator.store.flat_config import short
from orchestrator.store.trial_record import Planned, reference_name
from trainable.evaluate.metrics.best_epoch import BestEpoch
from trainable.presets import preset_in_words


def duration(seconds: float) -> str:
    """Seconds in words: ``42 s``, ``3 min 20 s``, ``5 h 12 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def seconds_in_short(seconds: float) -> str:
    """Seconds with a digit behind the point where they are few: ``0.8 s``, ``3 min 20 s``."""
    return f"{seconds:.1f} s" if seconds < 99.95 else duration(seconds)


def number(value: float | None) -> str:
    """A metric in four digits; a dash for none."""
    return "-" if value is None else f"{value:.4f}"


def best_epoch(best: BestEpoch | None) -> str:
    """A best epoch's value and which it is, as narrow as tables need it: ``0.5123 @7``; a dash for none."""
    return "-" if best is None else f"{number(best.value)} @{best.epoch}"


def picks(planned: Planned) -> str:
    """What was picked for a trial: ``train.lr=0.01, model.arch=fpn``; empty where nothing is searched."""
    return ", ".join(f"{name}={short(value)}" for name, value in (planned.picks or {}).items())


def reference_in_words(key: str) -> str:
    """What a reference is; empty where its preset is none of ours."""
    return preset_in_words(reference_name(key))


def folded(name: str, width: int) -> str:
    """A name in lines, broken behind its ``/``, ``_``, ``-`` and ``.`` alone."""
    lines = [""]
    for part in re.findall(r"[^/_.\s-]*(?:[/_.-]|\s(?!.$))|[^/_.-]+", name):  # an arrow stays with its name
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def figures_table(title: str, columns: Iterable[str]) -> Table:
    """A table of a column of names under ``title``, and columns of figures."""
    table = Table(Column(title, overflow="fold"), box=SIMPLE, pad_edge=False)
    for head in columns:
        table.add_column(head, justify="right", overflow="fold")
    return table
