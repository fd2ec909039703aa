"""A report in a format: its template in ``templates/``, filled in with one escape filter (``e`` there)."""

import base64
from collections.abc import Callable, Mapping
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from orchestrator.report.pages.document import Document, FigureFormat, Format, Heading, Table, slug
from orchestrator.report.pages.escapes import escape_latex, escape_markdown, stack_latex
from trainable.evaluate.metrics.glossary import in_words

# HTML's is jinja2's own
_ESCAPES: Mapping[Format, Callable[[str], str]] = {"md": escape_markdown, "tex": escape_latex}
LONG = 45
"""Rows of a LaTeX table that fit on a page; longer tables go on in a further one."""


def render(document: Document, form: Format, figures: Mapping[str, Mapping[FigureFormat, bytes]]) -> str:
    """The page of a format; ``figures``, by name and kind, are for pages that hold their figures."""
    template = _environment(form).get_template(f"page.{form}.j2")
    return template.render(document=document, anchors=_anchors(document), figures=figures)


def render_table(table: Table) -> str:
    r"""A file for LaTeX to ``\input``: it needs the packages booktabs, graphicx, amssymb and xcolor."""
    parts = [table.rows[at : at + LONG] for at in range(0, max(1, len(table.rows)), LONG)]
    return _environment("tex").get_template("table.tex.j2").render(table=table, parts=parts)


def _anchors(document: Document) -> dict[int, str]:
    """An id for each heading by its position, unique though headings of two stages may be alike."""
    anchors: dict[int, str] = {}
    for index, block in enumerate(document.blocks):
        if isinstance(block, Heading):
            base, number = slug(block.text), 2
            name = base
            while name in anchors.values():
                name, number = f"{base}-{number}", number + 1
            anchors[index] = name
    return anchors


@cache
def _environment(form: Format) -> Environment:
    angled = ("<%", "%>", "<<", ">>", "<#", "#>") if form == "tex" else ("{%", "%}", "{{", "}}", "{#", "#}")
    environment = Environment(
        *angled,  # LaTeX is full of braces
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=form != "html",
        undefined=StrictUndefined,
        autoescape=form == "html",
        loader=PackageLoader("orchestrator.report.pages", "templates"),
    )
    environment.filters |= {
        "e": _ESCAPES.get(form, environment.filters["e"]),
        "kind": lambda block: type(block).__name__,
        "base64": lambda content: base64.b64encode(content).decode(),
        "stack": stack_latex,
        "words": lambda head: in_words(head.split(" ")[0].rstrip(",")),
    }
    return environment
