r"""A report as LaTeX: a document that compiles by itself, and tables that a paper can ``\input``.

Written for pdflatex with booktabs. What pdflatex has no glyph for is written as its code point: an arm may bear any
name, and a report that does not compile helps nobody.
"""

import unicodedata
from typing import assert_never

from orchestrator.report.pages.document import Bullets, Cell, Document, Heading, Paragraph, Picture, Table

_PREAMBLE = r"""\documentclass[a4paper,10pt]{article}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage{lmodern}
\usepackage[margin=2cm]{geometry}
\usepackage{amssymb,booktabs,float,graphicx,xcolor}
\floatplacement{table}{H}
\floatplacement{figure}{H}
\setlength{\parindent}{0pt}
\setlength{\parskip}{0.5em}
\setlength{\emergencystretch}{3em}
"""
_FIT_TABLE = r"""% A table as wide as it is, or as the page where it is wider.
\providecommand{\fittable}[1]{\setbox0\hbox{#1}\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\box0}\else\box0\fi}
"""
STACKED = 9
"""Heads of so many letters are stacked word by word."""
LONG = 45
"""Rows of a table that fit on a page; longer tables go on in a further one."""

_WRITTEN = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_\allowbreak{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # behind a line break, [..] would be a distance and * a command
    "]": "{]}",
    "*": "{*}",
    "✓": r"\checkmark{}",
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
    "Δ": r"\ensuremath{\Delta}",
    "≥": r"\ensuremath{\geq}",
    "≤": r"\ensuremath{\leq}",
    "→": r"\ensuremath{\rightarrow}",
    "↑": r"\ensuremath{\uparrow}",
    "↓": r"\ensuremath{\downarrow}",
    "·": r"\textperiodcentered{}",
    "–": r"\textendash{}",
    "−": r"\ensuremath{-}",
    "…": r"\ldots{}",
    "“": "``",
    "”": "''",
    "’": "'",
}


def render(document: Document) -> str:
    r"""The document; tables are ``\input`` from ``tables/``, figures are ``figures/NAME.pdf``."""
    parts = [_PREAMBLE, rf"\title{{{escape(document.title)}}}", r"\date{}", r"\begin{document}", r"\maketitle"]
    for block in document.blocks:
        match block:
            case Heading():
                parts.append(rf"\{'section' if block.level == 2 else 'subsection'}{{{escape(block.text)}}}")
            case Paragraph():
                parts.append(_warning(block.text) if block.warning else f"{escape(block.text)}\n")
            case Bullets():
                items = [rf"\item {escape(item)}" for item in block.items]
                parts.append("\n".join([r"\begin{itemize}", *items, r"\end{itemize}"]))
            case Table():
                parts.append(rf"\input{{tables/{block.name}.tex}}")
            case Picture():
                parts.append(_picture(block))
            case _:
                assert_never(block)
    return "\n".join([*parts, r"\end{document}"]) + "\n"


def render_table(table: Table) -> str:
    r"""A file to ``\input``: it needs the packages booktabs, graphicx, amssymb and xcolor."""
    parts = [table.rows[at : at + LONG] for at in range(0, max(1, len(table.rows)), LONG)]
    return _FIT_TABLE + "\n".join(_part(table, rows, number) for number, rows in enumerate(parts))


def escape(text: str) -> str:
    """Text that means itself; no line breaks."""
    letters = map(_letter, unicodedata.normalize("NFC", " ".join(text.split())))
    return "".join(letters).replace("--", "-{}-")  # no dash of two hyphens


def _part(table: Table, rows: tuple[tuple[Cell, ...], ...], number: int) -> str:
    columns = "l" * table.words + "c" * (len(table.heads) - table.words)
    caption = escape(table.caption) + (" (continued)" if number else "")
    lines = [
        r"\begin{table}",
        r"\centering\small\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{caption}}}" + ("" if number else rf"\label{{tab:{table.name}}}"),
        rf"\fittable{{\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(_head, table.heads)) + r" \\",
        r"\midrule",
        *(" & ".join(map(_cell, row)) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}}",
    ]
    note = rf"\par\medskip\begin{{minipage}}{{\linewidth}}\footnotesize {escape(table.note)}\end{{minipage}}"
    return "\n".join([*lines, *([note] if table.note else []), r"\end{table}", ""])


def _head(text: str) -> str:
    """A head over several lines, so that check marks need no wide columns."""
    lines = [escape(word) for word in text.replace("/", "/ ").split()]
    if len(lines) < 2 or len(text) < STACKED:
        return escape(text)
    arrow = [lines.pop()] if text[-1] in "↑↓" else []
    lines[-1] = " ".join([lines[-1], *arrow])
    stacked = r" \\ ".join(lines)
    return rf"\shortstack{{{stacked}}}"


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    match cell.tone:
        case "strong":
            return rf"\textbf{{{text}}}"
        case "muted":
            return rf"\textcolor{{black!60}}{{{text}}}"
        case "plain":
            return text
        case _:
            assert_never(cell.tone)


def _warning(text: str) -> str:
    return rf"\fbox{{\begin{{minipage}}{{0.97\linewidth}}\textbf{{Note.}} {escape(text)}\end{{minipage}}}}" + "\n"


def _picture(picture: Picture) -> str:
    return "\n".join(
        [
            r"\begin{figure}",
            r"\centering",
            rf"\includegraphics[width=\linewidth,height=0.85\textheight,keepaspectratio]{{figures/{picture.name}.pdf}}",
            rf"\caption{{{escape(picture.caption)}}}\label{{fig:{picture.name}}}",
            r"\end{figure}",
        ]
    )


def _letter(letter: str) -> str:
    if letter in _WRITTEN:
        return _WRITTEN[letter]
    if letter.isascii():
        return letter if letter.isprintable() else " "
    if "\u00c0" <= letter <= "\u017f":  # Latin with accents, which the T1 encoding has
        return letter
    return rf"\texttt{{U+{ord(letter):04X}}}"
