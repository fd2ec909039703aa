"""What only a GPU can tell, in one run: suppression's cost, throughput, sharing, memory, waits, equality.

Run:   python benchmarks/gpu.py [--sections machine,cost] [--out FILE.json] [--minutes N] [--tiny]
Time:  about 8 minutes on an H100 with 16 cores. Needs what ``trainable`` imports and pytest, no Ray and no network.

Each section runs in a process of its own, so that a crash or its time limit ends that section alone; what it had
measured stays. Sections that measure time run one after the other, the checks beside each other. FILE is written after
every section, and those that it holds as complete are skipped. Tables are printed in Markdown, for RESULTS.md; the last
one says which goals are met, of all that FILE holds.
``--tiny`` runs the same code in small sizes, on a CPU too: it shows that the script works, its figures say nothing.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
Row = dict[str, str | float | None]


@dataclass(frozen=True)
class Section:
    """A module of ``gpu_sections`` and its limit."""

    name: str
    seconds: float
    """Most that it may take."""
    timed: bool = True
    """Whether it measures time, and needs the machine for itself."""


SECTIONS = (
    Section("machine", 60),
    Section("waits", 120, timed=False),
    Section("equality", 120, timed=False),
    Section("memory", 200, timed=False),
    Section("suite", 200, timed=False),
    Section("cost", 120),
    Section("sharing", 100),
    Section("throughput", 120),
    Section("precision", 90),
    Section("ranks", 60),
    Section("compiled", 120),
)


DECODER = ("deeplabv3plus", "decoder")
"""Model and layer of the first two goals."""


@dataclass(frozen=True)
class Outcome:
    """What a section gave."""

    complete: bool
    seconds: float
    rows: list[Row]


class Results:
    """The file of results."""

    def __init__(self, path: Path) -> None:
        """Continue the file if it is there."""
        self.path = path
        written = json.loads(path.read_text()) if path.exists() else {}
        self.outcomes = {name: Outcome(**outcome) for name, outcome in written.items()}

    def add(self, name: str, outcome: Outcome) -> None:
        """Keep a section's outcome and print its table."""
        self.outcomes[name] = outcome
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps({name: vars(outcome) for name, outcome in self.outcomes.items()}, indent=1))
        partial.replace(self.path)
        print(f"\n### {name} ({outcome.seconds:.0f} s{'' if outcome.complete else ', not complete'})\n")
        print(markdown(outcome.rows), flush=True)


def run_section(section: Section, deadline: float, tiny: bool) -> Outcome:
    """Run a section in a process of its own, until it ends, its limit or the deadline (of ``time.monotonic``)."""
    begun = time.monotonic()
    limit = min(section.seconds * (10 if tiny else 1), deadline - begun)
    if limit < 10:
        return Outcome(False, 0.0, [{"problem": "no time left"}])
    with tempfile.TemporaryDirectory() as folder:
        rows, log = Path(folder) / "rows", Path(folder) / "log"
        rows.touch()
        command = [sys.executable, "-m", "gpu_sections", section.name, str(rows), *(["--tiny"] if tiny else [])]
        path = [ROOT, ROOT / "benchmarks", *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {"PYTHONPATH": os.pathsep.join(map(str, path)), "DROPCLASS_CACHE": folder}
        if tiny:
            environment.setdefault("OMP_NUM_THREADS", "1")  # small sizes gain nothing from threads
        environment = {**os.environ, **environment, "PYTHONUNBUFFERED": "1"}
        with log.open("wb") as output:
            # a session of its own: at the limit its children must end with it
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
            )
            problem = _wait(process, limit)
        measured: list[Row] = [json.loads(line) for line in rows.read_text().splitlines()]
        if problem:
            lines = log.read_text(errors="replace").strip().splitlines()
            measured.append({"problem": f"{problem}: {' / '.join(lines[-3:])}"})
    return Outcome(not problem, time.monotonic() - begun, measured)


def _wait(process: "subprocess.Popen[bytes]", limit: float) -> str:
    """Wait for a process; what went wrong, or nothing."""
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()
        return f"ended after {limit:.0f} s"
    return f"exit code {code}" if code else ""


def markdown(rows: Sequence[Row]) -> str:
    """A table per run of rows that have the same columns."""
    lines: list[str] = []
    columns: list[str] = []
    for row in rows:
        if list(row) != columns:
            columns = list(row)
            lines += [*([""] if lines else []), _line(columns), _line("---" for _ in columns)]
        lines.append(_line(_cell(value) for value in row.values()))
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: str | float | None) -> str:
    match value:
        case None:
            return ""
        case str():
            return value.replace("|", "\\|").replace("\n", " ")
        case int():
            return f"{value:,}"
        case _:
            return f"{value:.4g}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing; 1 where a section is not complete."""
    parser = argparse.ArgumentParser(prog="python benchmarks/gpu.py", description="Measure and check on a GPU.")
    names = [section.name for section in SECTIONS]
    parser.add_argument("--sections", default=",".join(names), help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="default: %(default)s")
    parser.add_argument("--minutes", type=float, default=9.0, help="most that all of it may take; default: %(default)g")
    parser.add_argument("--tiny", action="store_true", help="small sizes, a CPU will do")
    options = parser.parse_args(arguments)
    chosen = options.sections.split(",")
    if unknown := sorted(set(chosen) - set(names)):
        parser.error(f"--sections: unknown {', '.join(unknown)}; valid: {', '.join(names)}")
    results = Results(options.out)
    deadline = time.monotonic() + 60 * options.minutes
    due = [s for s in SECTIONS if s.name in chosen and not _is_complete(results, s)]
    groups = [[section] for section in due if section.timed]
    groups.append([section for section in due if not section.timed])
    for sections in sorted(groups, key=lambda group: [SECTIONS.index(section) for section in group]):
        run_together(sections, results, deadline, options.tiny)
    print(f"\n### goals{' (small sizes: they say nothing)' if options.tiny else ''}\n\n{markdown(goals(results))}")
    return 0 if all(_is_complete(results, section) for section in due) else 1


def run_together(sections: Sequence[Section], results: Results, deadline: float, tiny: bool) -> None:
    """Run sections beside each other and keep what they give."""
    with ThreadPoolExecutor(max(1, len(sections))) as pool:
        running = {section.name: pool.submit(run_section, section, deadline, tiny) for section in sections}
        for name, future in running.items():
            results.add(name, future.result())


def goals(results: Results) -> list[Row]:
    """What was aimed at, what was measured, and whether it is met; only of what was measured."""
    rows = [row for outcome in results.outcomes.values() for row in outcome.rows]
    return [*_goals_of_cost(rows), *_goals_of_sharing(rows), *_goals_of_checks(rows)]


def _goals_of_cost(rows: Sequence[Row]) -> Iterator[Row]:
    decoder = {row["variant"]: row["x plain"] for row in rows if (row.get("model"), row.get("layer")) == DECODER}
    ours, literal = decoder.get("gate"), decoder.get("literal")
    if isinstance(ours, float) and isinstance(literal, float):
        yield _goal("suppression at the decoder, x plain", ours, "at most 1.10", ours <= 1.1)
        extra = (ours - 1) / max(literal - 1, 1e-9)
        yield _goal("its extra as a share of the literal extra", extra, "at most 0.5", extra <= 0.5)


def _goals_of_sharing(rows: Sequence[Row]) -> Iterator[Row]:
    for row in rows:
        if isinstance(gain := row.get("gain"), float):
            yield _goal(f"four at once: {row['trial']}", gain, "at least 2", gain >= 2)


def _goals_of_checks(rows: Sequence[Row]) -> Iterator[Row]:
    waits = [row for row in rows if "three steps of" in row]
    if waits:
        waiting = sum((row["waits at"], row["in mode error"]) != ("nowhere", "passed") for row in waits)
        yield _goal(f"of {len(waits)} kinds of trial wait for the GPU in a step", waiting, "0", not waiting)
    summaries = [str(row["tests/gpu"]) for row in rows if "tests/gpu" in row]
    if summaries:
        yield _goal("tests/gpu", summaries[-1], "all pass", not re.search("failed|error|skipped", summaries[-1]))


def _goal(what: str, measured: str | float, aim: str, met: bool) -> Row:
    return {"goal": what, "measured": measured, "aim": aim, "met": "yes" if met else "no"}


def _is_complete(results: Results, section: Section) -> bool:
    return section.name in results.outcomes and results.outcomes[section.name].complete


if __name__ == "__main__":
    sys.exit(main())
