"""The picture of the house: the packages as floors, and who imports whom, from the import graph itself."""

import math
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import grimp
from svg import BLUE, GREEN, GREY, ORANGE, QUIET, Drawing, Point

ROOT = Path(__file__).parents[2]
WHAT = {
    "submit": "a job of a cluster",
    "api": "studies from Python",
    "launch": "one launch: rounds, the end",
    "tracking": "MLflow",
    "run": "the driver's room of Ray",
    "report": "statistics, charts, pages",
    "export": "Optuna, TensorBoard",
    "plan": "Optuna: the next trial",
    "worker": "a trial on its worker",
    "terminal": "what the user sees",
    "store": "the study's directory",
    "studyfile": "a study file, checked",
    "errors": "what a user can mend",
    "trainable": "network, suppression, training",
}
COMMANDS = ("sweep", "status", "track", "compare", "predict", "init", "dropclass", "commands")
WIDTH, ROW, TOP, GAP = 960, 92, 66, 14
BOX: Point = (190, 44)
INKS = ("#4472a8", "#c2703d", "#5a8f5a", "#7d6ba0", "#a05a6e")


def floors() -> list[list[str]]:
    """Packages by floor, from the top, as the import contract in pyproject.toml has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[name.strip(" ()") for name in layer.replace(":", "|").split("|")] for layer in layers]


def imports(rooms: Sequence[str]) -> Counter[tuple[str, str]]:
    """How many modules of one room import one of another."""
    graph = grimp.build_graph("orchestrator", "trainable")
    owner = {module: room for module in graph.modules if (room := _room(module, rooms)) is not None}
    pairs: Counter[tuple[str, str]] = Counter()
    for module, room in owner.items():
        others = {owner[other] for other in graph.find_modules_directly_imported_by(module) if other in owner}
        pairs.update((room, other) for other in others - {room})
    return pairs


def _room(module: str, rooms: Sequence[str]) -> str | None:
    return next((room for room in rooms if module == room or module.startswith(f"{room}.")), None)


def house_picture() -> str:
    """The picture as SVG."""
    rows = floors()
    pairs = imports([room for row in rows for room in row])
    drawing = Drawing(WIDTH, TOP + ROW * len(rows), "Packages by floor; each imports only what lies below it")
    drawing.words((WIDTH / 2, 28), "Each floor imports only from floors below it", letters=16, bold=True)
    rooms = sum(map(len, rows))
    figures = f"{rooms} rooms on {len(rows)} floors; {len(pairs)} arrows, as thick as the imports are many"
    drawing.words((WIDTH / 2, 48), figures, letters=12, ink=QUIET)
    corners, width = _corners(rows)
    _arrows(drawing, pairs, corners, width)
    for row in rows:
        for room in row:
            _box(drawing, room, corners[room], width[room])
    return drawing.text()


def _corners(rows: Sequence[Sequence[str]]) -> tuple[dict[str, Point], dict[str, float]]:
    corners: dict[str, Point] = {}
    widths: dict[str, float] = {}
    for number, row in enumerate(rows):
        width = min(BOX[0], (WIDTH - 40 - GAP * (len(row) - 1)) / len(row))
        gap = min(70.0, (WIDTH - 40 - width * len(row)) / max(1, len(row) - 1))
        left = (WIDTH - width * len(row) - gap * (len(row) - 1)) / 2
        for place, room in enumerate(row):
            corners[room] = (left + place * (width + gap), TOP + number * ROW)
            widths[room] = width
    return corners, widths


def _arrows(
    drawing: Drawing, pairs: Counter[tuple[str, str]], corners: dict[str, Point], widths: dict[str, float]
) -> None:
    """Straight down to the next floor; around the others, the farther the wider, to alternate sides."""
    for number, ((room, other), count) in enumerate(sorted(pairs.items())):
        start = (corners[room][0] + widths[room] / 2, corners[room][1] + BOX[1])
        end = (corners[other][0] + widths[other] / 2, corners[other][1] - 1)
        far = round((corners[other][1] - corners[room][1]) / ROW)
        side = 1 if start[0] > WIDTH / 2 or (start[0] == WIDTH / 2 and number % 2) else -1
        bulge = 0 if far <= 1 else side * min(430, 90 + 48 * far)
        drawing.curve(start, end, bulge, ink=INKS[far % len(INKS)], width=0.7 + math.log2(count) * 0.55)


def _box(drawing: Drawing, room: str, corner: Point, width: float) -> None:
    name = room.removeprefix("orchestrator.")
    fill = GREEN if room == "trainable" else ORANGE if name in ("store", "studyfile", "errors") else BLUE
    lines = [name] if width < BOX[0] * 0.8 else [name, WHAT.get(name, "a command")]
    drawing.box(corner, (width, BOX[1]), lines, GREY if name in COMMANDS else fill, letters=13)
