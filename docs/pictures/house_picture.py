"""The picture of the house: the packages as floors, and who imports whom, from the import graph itself."""

import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import grimp
from svg import BLUE, GREEN, GREY, ORANGE, QUIET, Drawing

ROOT = Path(__file__).parents[2]
WHAT = {
    "orchestrator.submit": "a job of a cluster",
    "orchestrator.launch": "one launch: what is left, rounds, the end",
    "orchestrator.tracking": "MLflow",
    "orchestrator.run": "the driver's room of Ray",
    "orchestrator.report": "statistics, charts, pages",
    "orchestrator.plan": "Optuna: which trial is next",
    "orchestrator.worker": "a trial on its worker",
    "orchestrator.terminal": "what the user sees",
    "orchestrator.store": "the study's directory",
    "orchestrator.studyfile": "a study file, checked",
    "orchestrator.errors": "what a user can mend",
    "trainable": "network, suppression, training: pure torch",
}
WIDTH, ROW, TOP, BOX = 940, 74, 64, 46


def floors() -> list[list[str]]:
    """Packages by floor, from the top, as the import contract in pyproject.toml has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[name.strip(" ()") for name in layer.replace(":", "|").split("|")] for layer in layers]


def imports(rooms: Sequence[str]) -> Counter[tuple[str, str]]:
    """How many modules of one room import a module of another."""
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
    rooms = [room for row in rows for room in row]
    pairs = imports(rooms)
    drawing = Drawing(WIDTH, TOP + ROW * len(rows) + 26, "Packages by floor; each imports only what lies below it")
    drawing.words(WIDTH / 2, 30, "Each floor imports only from floors below it", size=16, bold=True)
    drawing.words(
        WIDTH / 2, 50, "beside a room: how many arrows of imports leave it, and to how many rooms", size=12, ink=QUIET
    )
    for number, row in enumerate(rows):
        _floor(drawing, TOP + number * ROW, row, pairs)
        if number:
            drawing.arrow((WIDTH / 2, TOP + number * ROW - ROW + BOX + 12), (WIDTH / 2, TOP + number * ROW - 2))
    drawing.words(
        WIDTH / 2, TOP + ROW * len(rows) + 10, f"{len(rooms)} rooms on {len(rows)} floors, {len(pairs)} arrows, none upwards",
        size=13, ink=QUIET,
    )  # fmt: skip
    return drawing.text()


def _floor(drawing: Drawing, y: float, row: Sequence[str], pairs: Counter[tuple[str, str]]) -> None:
    gap = 16
    width = min(420.0, (WIDTH - 40 - gap * (len(row) - 1)) / len(row))
    left = (WIDTH - width * len(row) - gap * (len(row) - 1)) / 2
    for place, room in enumerate(row):
        below = [other for importer, other in pairs if importer == room]
        leaving = sum(count for (importer, _), count in pairs.items() if importer == room)
        fill = (
            GREEN
            if room == "trainable"
            else ORANGE
            if room in ("orchestrator.store", "orchestrator.studyfile")
            else BLUE
        )
        name = room.removeprefix("orchestrator.")
        about = WHAT.get(room, "a command")
        figure = f"{leaving} to {len(below)}" if below else "imports none of these"
        narrow = width < 200
        drawing.box(left + place * (width + gap), y, width, BOX, [name, *([] if narrow else [f"{about} · {figure}"])],
                    fill if about != "a command" else GREY, size=14)  # fmt: skip
