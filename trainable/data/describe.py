"""What a data set holds, as tables for a terminal. Imports no torch."""

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trainable.data.cache import cache_folder
from trainable.data.classes import ClassMap, class_map
from trainable.data.config import DataConfig
from trainable.data.fingerprint import fingerprint
from trainable.data.mapped import Counts
from trainable.data.pictures import conditional
from trainable.data.splits import array_splits
from trainable.data.statistics import ClassStatistics
from trainable.evaluate.metrics.rare import RARE_SHARE, rare_classes

MAX_TABLE_CLASSES = 25
"""Up to so many classes the co-occurrence fits into a table on a terminal."""


def describe(data: DataConfig, console: Console) -> None:
    """Print classes, shares, rare classes and co-occurrence; builds the cache where it is missing.

    Raises:
        DataError: missing or broken files.
    """
    splits, classes = array_splits(data), class_map(data)
    statistics = ClassStatistics.of(splits["train"].counts)
    counts = ", ".join(f"{len(split)} {name}" for name, split in splits.items())
    for line in (
        f"{data.name}: {counts} frames at {data.size[0]}x{data.size[1]}, {len(classes.names)} classes",
        f"fingerprint  {fingerprint(data, cache_folder())}",
    ):
        console.print(line, markup=False, highlight=False)
    console.print(_class_table(classes, statistics, splits["val"].counts))
    console.print(_rare_line(classes, statistics), markup=False, highlight=False)
    if len(classes.names) <= MAX_TABLE_CLASSES:
        console.print(_co_occurrence_table(classes, statistics))


def _class_table(classes: ClassMap, statistics: ClassStatistics, val_NC: Counts) -> Table:
    table = Table("", "class", title="Classes", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("label id", "train %", "val %", "in train images", "in val images"):
        table.add_column(column, justify="right")
    table.add_column("")
    train_total, val_total = max(1, sum(statistics.pixels)), max(1, int(val_NC.sum()))
    rare = rare_classes(statistics.pixels)
    for c, name in enumerate(classes.names):
        table.add_row(
            Text("██", style="rgb({},{},{})".format(*classes.colours[c])),
            f"{c} {name}",
            str(classes.ids[c]),
            f"{100 * statistics.pixels[c] / train_total:.3f}",
            f"{100 * int(val_NC[:, c].sum()) / val_total:.3f}",
            str(statistics.images[c]),
            str(int((val_NC[:, c] > 0).sum())),
            "rare" if c in rare else "",
        )
    return table


def _rare_line(classes: ClassMap, statistics: ClassStatistics) -> str:
    rare = ", ".join(classes.names[c] for c in rare_classes(statistics.pixels)) or "none"
    seen = [pixels for pixels in statistics.pixels if pixels]
    ratio = f"{max(seen) / min(seen):.0f}:1" if seen else "undefined"
    return f"rare (under {100 * RARE_SHARE:g} % of the labelled training pixels): {rare}; commonest to rarest {ratio}\n"


def _co_occurrence_table(classes: ClassMap, statistics: ClassStatistics) -> Table:
    title = "Co-occurrence: of the training images with the row's class, % that hold the column's"
    table = Table("class", title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    for c in range(len(classes.names)):
        table.add_column(str(c), justify="right", no_wrap=True)
    for c, row in enumerate(100 * conditional(statistics)):
        table.add_row(f"{c} {classes.names[c]}", *("-" if np.isnan(share) else f"{share:.0f}" for share in row))
    return table
