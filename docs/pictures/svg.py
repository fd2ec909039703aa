"""Boxes, arrows and words as an SVG of one's own: no font and no file from elsewhere, readable on light and dark pages."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

FONT = "Helvetica, Arial, sans-serif"
INK, QUIET, PAPER = "#1f2933", "#5b6770", "#ffffff"
BLUE, ORANGE, GREEN, GREY = "#dbe9f6", "#fde3cf", "#dff0e0", "#eef1f4"


@dataclass
class Drawing:
    """An SVG of a size in pixels, to which parts are added."""

    width: int
    height: int
    title: str
    parts: list[str] = field(default_factory=list)

    def box(
        self, x: float, y: float, w: float, h: float, lines: Sequence[str], fill: str = GREY, size: int = 14
    ) -> None:
        """A rounded box around lines of words; the first is bold."""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="6" fill="{fill}" stroke="{QUIET}" stroke-width="1"/>'
        )
        top = y + h / 2 - (len(lines) - 1) * size * 0.625 + size * 0.35
        for number, line in enumerate(lines):
            self.words(x + w / 2, top + number * size * 1.25, line, size=size - 2 * (number > 0), bold=number == 0)

    def words(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: int = 13,
        bold: bool = False,
        anchor: str = "middle",
        ink: str = INK,
    ) -> None:
        """A line of words around, from or up to a point."""
        weight = ' font-weight="bold"' if bold else ""
        self.parts.append(
            f'<text x="{x}" y="{y}" font-family="{FONT}" font-size="{size}" text-anchor="{anchor}" '
            f'fill="{ink}"{weight}>{escape(text)}</text>'
        )

    def arrow(self, *points: tuple[float, float], dashed: bool = False, ink: str = QUIET, width: float = 1.6) -> None:
        """A line through points, with a head at its end."""
        path = " ".join(f"{'M' if number == 0 else 'L'}{x} {y}" for number, (x, y) in enumerate(points))
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(
            f'<path d="{path}" fill="none" stroke="{ink}" stroke-width="{width}"{dash} marker-end="url(#head)"/>'
        )

    def text(self) -> str:
        """The whole file."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" role="img">'
        )
        marker = (
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0 0 L8 4 L0 8 z" fill="{QUIET}"/></marker></defs>'
        )
        paper = f'<rect width="{self.width}" height="{self.height}" rx="8" fill="{PAPER}"/>'
        return "\n".join([head, f"<title>{escape(self.title)}</title>", marker, paper, *self.parts, "</svg>", ""])
