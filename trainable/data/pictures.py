"""Pictures of a data set: sample frames with a legend of the classes, class shares, co-occurrence. Imports no torch.

Figures are built without pyplot, so they may be drawn in any thread and need no screen.
Shapes: C classes, H W frames.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

from trainable.data.classes import ClassMap, class_map
from trainable.data.config import DataConfig
from trainable.data.folder_classes import Colour
from trainable.data.mapped import Counts
from trainable.data.splits import ArraySplit, array_splits
from trainable.data.statistics import ClassStatistics
from trainable.data.strip import IGNORED_COLOUR, coloured
from trainable.evaluate.metrics.rare import RARE_SHARE, rare_classes

Floats = npt.NDArray[np.float64]

SAMPLES = {"train": 3, "val": 1}
"""Frames shown of each split where there is nothing but these two; else one of every split."""
DPI = 110
LEGEND_COLUMNS = 6
MAX_NUMBERED_CLASSES = 32
"""Up to so many classes the cells of the heat map bear their numbers; its side grows no further."""
MAX_NAMED_CLASSES = 60
"""Up to so many classes each row of the heat map has its name; beyond, some of them."""


def draw(data: DataConfig, folder: Path) -> list[Path]:
    """Write ``samples.png``, ``class_shares.png`` and ``co_occurrence.png`` into ``folder``; returns their paths.

    Raises:
        DataError: missing or broken files.
        OSError: the folder cannot be written.
    """
    classes, splits = class_map(data), array_splits(data)
    statistics = ClassStatistics.of(splits["train"].counts)
    figures = {
        "samples": _samples(data, classes, splits),
        "class_shares": _shares(data, classes, statistics, splits["val"].counts),
        "co_occurrence": _co_occurrence(data, classes, statistics),
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=DPI)
    return paths


def _samples(data: DataConfig, classes: ClassMap, splits: dict[str, ArraySplit]) -> Figure:
    """Images above their labels, and a legend of the classes."""
    shown = list(_shown(splits))
    height, width = data.size
    column_inches = min(3.6, max(2.2, 3.6 * width / (2 * height)))
    row_inches = column_inches * height / width
    legend_rows = -(-(len(classes.names) + 1) // LEGEND_COLUMNS)
    legend_inches = 0.24 * legend_rows + 0.15
    size = (column_inches * len(shown) + 0.2, 2 * row_inches + legend_inches + 0.75)
    figure = Figure(figsize=size, layout="constrained")
    frames: SubFigure
    legend: SubFigure
    frames, legend = figure.subfigures(2, 1, height_ratios=[size[1] - legend_inches, legend_inches])  # type: ignore[misc]
    axes = frames.subplots(2, len(shown), squeeze=False)
    frames.suptitle(f"{data.name} at {height}x{width}: images and labels", fontsize=11)
    for column, (title, split, index) in enumerate(shown):
        axes[0, column].set_title(title, fontsize=9)
        axes[0, column].imshow(split.image(index).transpose(1, 2, 0))
        axes[1, column].imshow(coloured(split.label(index), classes))
        for axis in axes[:, column]:
            axis.set_xticks([])
            axis.set_yticks([])
    patches = [Patch(color=_unit(c), label=name) for name, c in zip(classes.names, classes.colours, strict=True)]
    ignored = Patch(facecolor=_unit(IGNORED_COLOUR), edgecolor="grey", label="ignored")
    legend.legend(handles=[*patches, ignored], loc="center", ncols=LEGEND_COLUMNS, fontsize=8, frameon=False)
    return figure


def _shown(splits: dict[str, ArraySplit]) -> Iterator[tuple[str, ArraySplit, int]]:
    """Title, split and index of the frames to show."""
    if splits.keys() != SAMPLES.keys():  # shapes: the same scene in every context
        train, *contexts = splits.items()
        yield "train", train[1], _most_telling(train[1].counts, 1)[0]
        index = _most_telling(contexts[0][1].counts, 1)[0]
        yield from (("aligned" if name == "val" else name, split, index) for name, split in contexts)
        return
    for name, count in SAMPLES.items():
        for index in _most_telling(splits[name].counts, count):
            yield f"{name}, frame {index}", splits[name], index


def _most_telling(counts_NC: Counts, count: int) -> list[int]:
    """Frames that together show most classes, one of each of ``count`` equal parts: neighbours in a video are alike."""
    chosen = []
    unseen_C = np.ones(counts_NC.shape[1], dtype=bool)
    for part in np.array_split(np.arange(len(counts_NC)), min(count, len(counts_NC))):
        present_NC = counts_NC[part] > 0
        gain_N = (present_NC & unseen_C).sum(axis=1) * 1000 + present_NC.sum(axis=1)
        best = int(gain_N.argmax())
        chosen.append(int(part[best]))
        unseen_C &= ~present_NC[best]
    return chosen


def _shares(data: DataConfig, classes: ClassMap, statistics: ClassStatistics, val_NC: Counts) -> Figure:
    """A bar for each class, the commonest on top: its share of the training pixels, on a log scale."""
    train_C, val_C = (_percent(pixels) for pixels in (np.array(statistics.pixels), val_NC.sum(axis=0)))
    order, rows = np.argsort(-train_C, kind="stable"), np.arange(len(train_C))
    rare = rare_classes(statistics.pixels)
    present = [share for share in (*train_C, *val_C) if share > 0]
    low = min([*present, 100 * RARE_SHARE]) / 3
    figure = Figure(figsize=(8.5, 0.27 * len(order) + 1.4), layout="constrained")
    axis = figure.subplots()
    axis.barh(rows, np.maximum(train_C[order], low), color=[_unit(classes.colours[c]) for c in order], edgecolor="#555")
    val_shown = np.where(val_C[order] > 0, val_C[order], np.nan)
    axis.plot(val_shown, rows, "D", color="black", markeredgecolor="white", markersize=6, label="evaluation split")
    axis.axvline(100 * RARE_SHARE, color="crimson", linestyle="--", label=f"rare: under {100 * RARE_SHARE:g} %")
    axis.set_xscale("log")
    axis.set_xlim(low, 100)
    axis.set_yticks(rows, [f"{classes.names[c]}{' (rare)' if c in rare else ''}" for c in order], fontsize=9)
    axis.invert_yaxis()
    for row, c in enumerate(order):
        text = f"{train_C[c]:.2g} %, in {statistics.images[c]} of {statistics.total_images} images"
        axis.text(1.02, row, text, va="center", fontsize=8, transform=axis.get_yaxis_transform())
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_xlabel("share of the labelled pixels, % (log scale); bars: training split")
    axis.set_title(f"{data.name} at {data.size[0]}x{data.size[1]}: class shares", fontsize=11)
    axis.legend(loc="lower right", fontsize=8)
    return figure


def _co_occurrence(data: DataConfig, classes: ClassMap, statistics: ClassStatistics) -> Figure:
    """Share of the training images with the row's class that hold the column's class too."""
    share_CC = 100 * conditional(statistics)
    count = len(classes.names)
    side = 0.36 * min(count, MAX_NUMBERED_CLASSES) + 2.2
    named = range(0, count, -(-count // MAX_NAMED_CLASSES))
    font_size = min(8.0, 12 * MAX_NUMBERED_CLASSES / len(named))
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axis = figure.subplots()
    shown = axis.imshow(np.ma.masked_invalid(share_CC), cmap="YlGnBu", vmin=0, vmax=100)
    axis.set_facecolor("#ddd")
    names = [classes.names[c] for c in named]
    axis.set_xticks(named, names, rotation=60, ha="right", rotation_mode="anchor", fontsize=font_size)
    axis.set_yticks(named, names, fontsize=font_size)
    axis.set_xlabel("… hold this class too")
    axis.set_ylabel("of the images with this class …")
    axis.set_title(f"{data.name}: co-occurrence in the training images, %", fontsize=11)
    if count <= MAX_NUMBERED_CLASSES:
        _number(axis, share_CC)
    figure.colorbar(shown, ax=axis, shrink=0.7)
    return figure


def _number(axis: Axes, share_CC: Floats) -> None:
    for row, column in np.argwhere(np.isfinite(share_CC)):
        share = share_CC[row, column]
        colour = "white" if share > 60 else "black"
        axis.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=7, color=colour)


def conditional(statistics: ClassStatistics) -> Floats:
    """P(column's class in the image | row's class in it), [C,C]; NaN in the row of a class that never occurs."""
    together_CC = np.array(statistics.together, dtype=float)
    images_C1 = together_CC.diagonal()[:, None]
    share_CC: Floats = np.divide(together_CC, images_C1, out=np.full_like(together_CC, np.nan), where=images_C1 > 0)
    return share_CC


def _percent(pixels_C: Floats) -> Floats:
    return 100 * pixels_C / max(1, int(pixels_C.sum()))


def _unit(colour: Colour) -> tuple[float, float, float]:
    return colour[0] / 255, colour[1] / 255, colour[2] / 255
