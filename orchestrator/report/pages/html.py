"""A report as one HTML page that needs nothing else: style and figures are in it, scripts and addresses are not."""

import base64
from collections.abc import Mapping
from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from orchestrator.report.pages.document import Block, Document, Heading, slug


def render(document: Document, figures: Mapping[str, bytes]) -> str:
    """The page.

    Args:
        document: The report.
        figures: SVG of each figure by its name.
    """
    sources = {name: f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}" for name, svg in figures.items()}
    anchors = _anchors(document)
    blocks = [
        {"kind": type(block).__name__, "block": block, "id": anchors.get(index)} for index, block in _all(document)
    ]
    contents = [
        (anchors[index], block.text, block.level) for index, block in _all(document) if isinstance(block, Heading)
    ]
    page: str = _template().render(title=document.title, blocks=blocks, contents=contents, sources=sources)
    return page


def _all(document: Document) -> list[tuple[int, Block]]:
    return list(enumerate(document.blocks))


def _anchors(document: Document) -> dict[int, str]:
    """An id for each heading, unique though headings of two stages may be alike."""
    found: dict[int, str] = {}
    for index, block in _all(document):
        if isinstance(block, Heading):
            base, number = slug(block.text), 2
            name = base
            while name in found.values():
                name, number = f"{base}-{number}", number + 1
            found[index] = name
    return found


@lru_cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("orchestrator.report.pages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")
