"""A report before it takes a format: headings, paragraphs, lists, tables and figures, in reading order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Format: TypeAlias = Literal["md", "tex", "html"]
FigureFormat: TypeAlias = Literal["svg", "pdf"]
Tone: TypeAlias = Literal["plain", "strong", "muted"]


@dataclass(frozen=True)
class Cell:
    """A cell of a table."""

    text: str
    tone: Tone = "plain"
    link: str = ""
    """Address that it leads to; http or https."""


@dataclass(frozen=True)
class Heading:
    """A heading; those of level 2 make the contents."""

    text: str
    level: Literal[2, 3] = 2


@dataclass(frozen=True)
class Paragraph:
    """Running text, or a remark that a reader must not miss."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table with one row of heads."""

    name: str
    """Unique in the report: letters, digits and ``-``; names its file and its anchor."""
    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    words: int = 1
    """So many columns from the left hold words; the others are centred."""
    note: str = ""
    """What stands below it."""


@dataclass(frozen=True)
class Picture:
    """A figure with its caption; the caption says what is seen, for those who cannot see it too."""

    name: str
    """Unique in the report: letters, digits and ``-``; names its files and its anchor."""
    caption: str
    draw: "Callable[[], Figure]"
    """Draws it: only when a page is made, one at a time."""


@dataclass(frozen=True)
class Photograph:
    """A figure of pixels with its caption, as it is."""

    name: str
    """As a picture's."""
    caption: str
    jpeg: bytes


Block: TypeAlias = Heading | Paragraph | Bullets | Table | Picture | Photograph


@dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    blocks: tuple[Block, ...] = field(default_factory=tuple)

    @property
    def tables(self) -> list[Table]:
        """Its tables in order."""
        return [block for block in self.blocks if isinstance(block, Table)]

    @property
    def pictures(self) -> list[Picture]:
        """Its drawn figures in order."""
        return [block for block in self.blocks if isinstance(block, Picture)]

    @property
    def photographs(self) -> list[Photograph]:
        """Its figures of pixels in order."""
        return [block for block in self.blocks if isinstance(block, Photograph)]


def cells(texts: Sequence[str], tone: Tone = "plain") -> tuple[Cell, ...]:
    """A row of cells of one tone."""
    return tuple(Cell(text, tone) for text in texts)


def slug(text: str) -> str:
    """The text as a part of a name: ``val/iou/sky`` as ``val-iou-sky``."""
    words = "".join(c if c.isascii() and c.isalnum() else " " for c in text).split()
    return "-".join(words).lower() or "x"
