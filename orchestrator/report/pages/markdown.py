"""A report as Markdown, in GitHub's dialect."""

import re
from typing import assert_never

from orchestrator.report.pages.document import Bullets, Cell, Document, Heading, Paragraph, Picture, Table

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~$])")


def render(document: Document) -> str:
    """The page; figures are linked as ``figures/NAME.png``."""
    parts = [f"# {_escape(document.title)}"]
    for block in document.blocks:
        match block:
            case Heading():
                parts.append(f"{'#' * block.level} {_escape(block.text)}")
            case Paragraph():
                parts.append(f"> **Note.** {_escape(block.text)}" if block.warning else _escape(block.text))
            case Bullets():
                parts.append("\n".join(f"- {_escape(item)}" for item in block.items))
            case Table():
                parts.append(_table(block))
            case Picture():
                caption = _escape(block.caption)
                parts.append(f"![{caption}](figures/{block.name}.png)\n\n*{caption}*")
            case _:
                assert_never(block)
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    rule = ["---" if column < table.words else ":---:" for column in range(len(table.heads))]
    lines = [[_escape(head) for head in table.heads], rule, *([_cell(cell) for cell in row] for row in table.rows)]
    note = f"\n\n{_escape(table.note)}" if table.note else ""
    return f"**{_escape(table.caption)}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + note


def _cell(cell: Cell) -> str:
    text = _escape(cell.text)
    return f"**{text}**" if cell.tone == "strong" and text else text


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
