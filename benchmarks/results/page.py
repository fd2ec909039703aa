"""RESULTS.md: which figures it holds between which marks, when each was measured, and how a new measurement gets in.

    <!-- figures: NAME; measured at COMMIT on DATE -->

    *Measured at COMMIT on DATE: ...*

    table or output

    <!-- end of NAME -->

``written in`` stands for ``measured at`` where only the commit is known that wrote the figures down. What lies between
the marks of a benchmark is replaced by its next measurement, everything else stays as people wrote it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

_BLOCK = re.compile(
    r"^<!-- figures: (?P<name>[\w-]+); (?P<how>measured at|written in) (?P<commit>[0-9a-f]+)(?P<dirty>-dirty)? "
    r"on (?P<day>\d{4}-\d\d-\d\d) -->\n(?P<text>.*?)^<!-- end of (?P=name) -->\n",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Stamp:
    """When figures were measured, and on what."""

    commit: str
    """Abbreviated."""
    day: date
    dirty: bool = False
    """Whether files differed from the commit."""
    measured: bool = True
    """False where it is only known when the figures were written down."""

    def __str__(self) -> str:
        how = "measured at" if self.measured else "written in"
        return f"{how} {self.commit}{'-dirty' if self.dirty else ''} on {self.day}"


@dataclass(frozen=True)
class Figures:
    """What stands between two marks."""

    name: str
    stamp: Stamp
    text: str


def read(page: str) -> list[Figures]:
    """The figures of a page, in its order.

    Raises:
        ValueError: a mark is not as it should be, a name occurs twice, or a table stands outside of all marks.
    """
    found = [Figures(block["name"], _stamp(block), block["text"]) for block in _BLOCK.finditer(page)]
    rest = _BLOCK.sub("", page)
    for number, line in enumerate(rest.splitlines(), 1):
        if line.startswith(("<!-- figures", "<!-- end of")):
            raise ValueError(f"a mark without its other half, or of another form: {line}")
        if line.startswith("| ---"):
            raise ValueError(f"a table without marks, so without commit and date (line {number} without figures)")
    names = [figures.name for figures in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"figures marked twice: {', '.join(twice)}")
    return found


def _stamp(block: re.Match[str]) -> Stamp:
    day = date.fromisoformat(block["day"])
    return Stamp(block["commit"], day, bool(block["dirty"]), block["how"] == "measured at")


def replaced(page: str, name: str, stamp: Stamp, remarks: Sequence[str], text: str) -> str:
    """The page with new figures; those that it did not hold yet come last, under a heading of their own.

    Args:
        page: As it stands.
        name: Of the benchmark.
        stamp: Of the measurement.
        remarks: What a reader should know of it: the command, repeats, load.
        text: Markdown, ends with a newline.
    """
    words = f"*M{str(stamp)[1:]}: {', '.join(remarks)}.*"
    block = f"<!-- figures: {name}; {stamp} -->\n\n{words}\n\n{text}\n<!-- end of {name} -->\n"
    if any(figures.name == name for figures in read(page)):
        return _BLOCK.sub(lambda old: block if old["name"] == name else old[0], page)
    return f"{page.rstrip()}\n\n## {name}\n\n{block}"
