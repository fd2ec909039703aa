"""Draw the pictures of README and docs from studies that ran: ``python docs/pictures/make.py STUDIES --work DIR``.

STUDIES holds ``studies/`` with a demo study ``shapes`` that has ended and an ablation. The pictures:

method.svg       how class suppression works
house.svg        the packages and who imports whom, from the import graph
predictions.png  what plain training and the study's winner make of scenes; both are trained again (a minute)
terminal.png     the demo's command while it runs: a copy of the study without its last trials is continued (a minute)
terminal_end.png what it says at the end
mlflow.png       the view that it prints, served from that copy; mlflow_table.png the same as a table
report.png       the first lines of the ablation's report; report_search.png of the demo's

Those of pages and terminals need Chromium. Nothing in STUDIES is changed; DIR takes copies and what lies between.
"""

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from browser import HOST, MISSING, chromium, photograph, shrink
from house_picture import house_picture
from method_picture import method_picture
from rich.text import Text
from screen import as_svg, on_terminal

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ALL = ("method", "house", "predictions", "terminal", "mlflow", "report")
NEED_CHROMIUM = {"terminal", "mlflow", "report"}
SPEC, DEMO = "search_spaces/shapes.yaml", "shapes"
LEFT_TO_RUN = 4
"""Trials of the copy that the picture of the terminal runs again."""
COLUMNS, LINES = 120, 40
PATIENCE_MS = 120_000
"""Until MLflow's charts are drawn, in the browser's time."""
PAGE = re.compile(r"^page\s+(?P<address>http\S+)", re.MULTILINE)


def main() -> int:
    """Run the command line; returns the exit code."""
    options = _options()
    wanted = options.only or ALL
    if NEED_CHROMIUM & set(wanted) and chromium() is None:
        print(f"{MISSING}; --only method house predictions needs none", file=sys.stderr)
        return 2
    options.work.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        print(name, flush=True)
        match name:
            case "method":
                (HERE / "method.svg").write_text(method_picture())
            case "house":
                (HERE / "house.svg").write_text(house_picture())
            case "predictions":
                _predictions(options.studies / "studies")
            case "terminal":
                _terminal(options.studies / "studies", options.work)
            case "mlflow":
                _mlflow(options.work)
            case _:
                _reports(options.studies / "studies", options.ablation, options.work)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Draw the pictures of README and docs from studies that ran.")
    add = parser.add_argument
    add("studies", type=Path, metavar="STUDIES", help="folder that holds studies/, with a demo study that has ended")
    add("--work", type=Path, required=True, metavar="DIR", help="folder for copies; the pictures go beside this script")
    add("--ablation", default="shapes-ablation-small", metavar="NAME", help="study whose report is shown (%(default)s)")
    add("--only", nargs="+", choices=ALL, help="some of the pictures; mlflow takes the copy that terminal made")
    return parser.parse_args()


def _predictions(studies: Path) -> None:
    from predictions import predictions_picture

    from orchestrator.store.ranking import best
    from orchestrator.store.records import Store
    from orchestrator.studyfile import load

    records = Store(str(studies), DEMO).records()
    objective = load(ROOT / SPEC).spec.objectives[0]
    winner = best([record for record in records if record.planned.kind == "search"], objective)
    (plain,) = (record for record in records if record.planned.key == "reference-plain")
    assert winner is not None, "no trial of the demo study is complete"
    trials = {"plain training": plain.planned.config, "winner": winner.planned.config}
    predictions_picture(trials, HERE / "predictions.png")


def _terminal(studies: Path, work: Path) -> None:
    """Continue a copy of the demo study that lacks its last trials, and keep two screens of it."""
    folder = work / "live"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(studies / DEMO, folder / "studies" / DEMO)
    (folder / "search_spaces").symlink_to(ROOT / "search_spaces")
    for trial in sorted((folder / "studies" / DEMO / "trials").glob("search-*"))[-LEFT_TO_RUN:]:
        shutil.rmtree(trial)
    command = ["python", "-m", "orchestrator.sweep", SPEC]
    running, end, code = on_terminal(command, folder, (COLUMNS, LINES), _environment(), _is_telling)
    (work / "terminal.txt").write_text(end.plain)
    if code or running is None:
        raise SystemExit(f"the demo study ended with {code}, see {work / 'terminal.txt'}")
    for name, text in (("terminal", running), ("terminal_end", end)):
        text = _after_prompt(" ".join(command)) + text
        svg = work / f"{name}.svg"
        svg.write_text(as_svg(text, COLUMNS, "dropclass-orchestrator"))
        box = re.search(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', svg.read_text())
        assert box is not None
        size = (round(float(box[1])), round(float(box[2])))
        photograph(svg.resolve().as_uri(), work / f"{name}.png", size, patience_ms=2000)
        shrink(work / f"{name}.png", HERE / f"{name}.png", 1200, colours=32)


def _after_prompt(command: str) -> Text:
    return Text.assemble(("$ ", "green"), (command, "bold"), "\n")


def _is_telling(screen: str) -> bool:
    """Two trials run, and both have some epochs."""
    return len(re.findall(r"\b[2-5]/6\b", screen)) >= 2


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT), "VIRTUAL_ENV": sys.prefix}


def _mlflow(work: Path) -> None:
    page = PAGE.search(_said("orchestrator.status", DEMO, folder=work / "live"))
    if page is None:
        raise SystemExit(f"the demo in {work / 'live'} knows no page of MLflow")
    with _served(work / "live") as port:
        address = re.sub(r"//127\.0\.0\.1:\d+", f"//{HOST}:{port}", page["address"])
        photograph(address, work / "mlflow.png", (1440, 1000), patience_ms=PATIENCE_MS)
        table = re.sub("-[a-z]+&compareRunsMode=CHART", "", address)
        photograph(table, work / "mlflow_table.png", (1440, 840), patience_ms=PATIENCE_MS)
    for name in ("mlflow", "mlflow_table"):
        shrink(work / f"{name}.png", HERE / f"{name}.png", 1300)


def _said(module: str, *words: str, folder: Path) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", module, *words]
    return subprocess.run(command, cwd=folder, env=_environment(), check=True, capture_output=True, text=True).stdout


@contextmanager
def _served(folder: Path) -> Iterator[int]:
    """MLflow's pages of a folder's database at a free port, until left."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--allowed-hosts", f"{HOST}:{port},127.0.0.1:{port}", "--cors-allowed-origins", f"http://{HOST}:{port}"]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    log = (folder / "mlflow.log").open("w")
    server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=_environment())
    try:
        _wait_for(f"http://127.0.0.1:{port}/health")
        yield port
    finally:
        server.terminate()
        server.wait()
        log.close()


def _wait_for(address: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(1)


def _reports(studies: Path, ablation: str, work: Path) -> None:
    for name, study in (("report", ablation), ("report_search", DEMO)):
        out = (work / name).resolve()
        options = ["--storage", str(studies.resolve()), "--format", "html", "--out", str(out)]
        _said("orchestrator.report", study, *options, folder=work)
        photograph((out / "report.html").as_uri(), work / f"{name}.png", (1200, 700), patience_ms=5000)
        shrink(work / f"{name}.png", HERE / f"{name}.png", 1100, colours=64)


if __name__ == "__main__":
    sys.exit(main())
