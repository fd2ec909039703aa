"""Boxes, arrows and words as an SVG: no font and no file from elsewhere, readable on light and dark pages."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

FONT = "Helvetica, Arial, sans-serif"
INK, QUIET, PAPER = "#1f2933", "#5b6770", "#ffffff"
BLUE, ORANGE, GREEN, GREY = "#dbe9f6", "#fde3cf", "#dff0e0", "#eef1f4"

Point = tuple[float, float]


@dataclass
class Drawing:
    """An SVG of a size in pixels, to which parts are added."""

    width: int
    height: int
    title: str
    parts: list[str] = field(default_factory=list)

    def box(self, corner: Point, size: Point, lines: Sequence[str], fill: str = GREY, *, letters: int = 14) -> None:
        """A rounded box around lines of words; the first is bold."""
        (x, y), (w, h) = corner, size
        frame = f'fill="{fill}" stroke="{QUIET}" stroke-width="1"'
        self.parts.append(f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="6" {frame}/>')
        top = y + h / 2 - (len(lines) - 1) * letters * 0.625 + letters * 0.35
        for number, line in enumerate(lines):
            place = (x + w / 2, top + number * letters * 1.25)
            self.words(place, line, letters=letters - 2 * (number > 0), bold=number == 0)

    def words(
        self, place: Point, text: str, *, letters: int = 13, bold: bool = False, anchor: str = "middle", ink: str = INK
    ) -> None:
        """A line of words around, from or up to a point."""
        weight = ' font-weight="bold"' if bold else ""
        self.parts.append(
            f'<text x="{place[0]:g}" y="{place[1]:g}" font-family="{FONT}" font-size="{letters}" '
            f'text-anchor="{anchor}" fill="{ink}"{weight}>{escape(text)}</text>'
        )

    def arrow(self, *points: Point, dashed: bool = False) -> None:
        """A line through points, with a head at its end."""
        path = " ".join(f"{'L' if number else 'M'}{x:g} {y:g}" for number, (x, y) in enumerate(points))
        self._path(path, f'stroke="{QUIET}" stroke-width="1.6"' + ' stroke-dasharray="5 4"' * dashed)

    def curve(self, start: Point, end: Point, bulge: float, *, ink: str, width: float) -> None:
        """A pale arrow from one point down to another, which goes around what lies between by ``bulge`` pixels."""
        (x, y), (u, v) = start, end
        path = (
            f"M{x:g} {y:g} C{x + bulge:.0f} {y + (v - y) * 0.3:.0f} {u + bulge:.0f} {v - (v - y) * 0.3:.0f} {u:g} {v:g}"
        )
        self._path(path, f'stroke="{ink}" stroke-width="{width:.1f}" stroke-opacity="0.55"')

    def _path(self, path: str, stroke: str) -> None:
        self.parts.append(f'<path d="{path}" fill="none" {stroke} marker-end="url(#head)"/>')

    def text(self) -> str:
        """The whole file."""
        size = f'viewBox="0 0 {self.width} {self.height}" width="{self.width}" height="{self.height}"'
        marker = 'viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" markerUnits="userSpaceOnUse"'
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{escape(self.title)}</title>",
            f'<defs><marker id="head" {marker} orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{QUIET}"/>',
            "</marker></defs>",
            f'<rect width="{self.width}" height="{self.height}" rx="8" fill="{PAPER}"/>',
            *self.parts,
            "</svg>",
            "",
        ]
        return "\n".join(lines)
