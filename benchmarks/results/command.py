"""Makes RESULTS.md anew on the commit that is checked out.

    python -m benchmarks --all            every benchmark that this machine can run within minutes
    python -m benchmarks NAME ...         these, also those that take long
    python -m benchmarks --list           names, what they take, what is missing here
    python -m benchmarks --ages           how old the figures of RESULTS.md are; never fails

Each benchmark replaces its own part of RESULTS.md as soon as it has ended; one that fails or cannot run here keeps its
older figures with their older commit and date. Files that differ from the commit are told by ``-dirty``.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from .catalog import BY_NAME, CATALOG, ROOT, Benchmark
from .history import History
from .measuring import BenchmarkFailed, measure
from .page import read, replaced

PAGE = "benchmarks/RESULTS.md"


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Do what the options say; 1 where a benchmark failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a benchmark")
    parser.add_argument("--all", action="store_true", help="all but those that take long")
    parser.add_argument("--list", action="store_true", help="print the benchmarks")
    parser.add_argument("--ages", action="store_true", help="print how old the figures are")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in BY_NAME]:
        parser.error(f"unknown: {', '.join(unknown)}; valid: {', '.join(BY_NAME)}")
    history = History(root, PAGE)
    if options.list:
        print("\n".join(map(_described, CATALOG)))
    elif options.ages:
        print("\n".join(ages(history)))
    elif options.all or options.names:
        failed = [one.name for one in CATALOG if _is_chosen(one, options.names) and not _renew(one, history)]
        print(f"failed: {', '.join(failed)}" if failed else "done")
        return 1 if failed else 0
    else:
        parser.error("name a benchmark, or give --all, --list or --ages")
    return 0


def _described(benchmark: Benchmark) -> str:
    remarks = [f"{benchmark.minutes} min", *["left out by --all"] * benchmark.only_named]
    remarks += filter(None, [benchmark.obstacle()])
    return f"{benchmark.name:<16} {'; '.join(remarks)}"


def ages(history: History) -> list[str]:
    """A line for all figures of the page, the benchmarks that it lacks too."""
    try:
        found = read((history.root / history.page).read_text())
    except (OSError, ValueError) as problem:
        return [f"{history.page}: {problem}"]
    lines = []
    for figures in found:
        benchmark = BY_NAME.get(figures.name)
        measures = (*benchmark.measures, *benchmark.scripts) if benchmark else ("orchestrator", "trainable")
        line = history.age(figures, measures, date.today())
        lines.append(line if benchmark else f"{line}; by hand")
    names = {figures.name for figures in found}
    return lines + [f"{name:<22} never measured" for name in BY_NAME if name not in names]


def _is_chosen(benchmark: Benchmark, names: Sequence[str]) -> bool:
    if names:
        return benchmark.name in names
    if benchmark.only_named:
        print(f"{benchmark.name}: left out, it takes about {benchmark.minutes} min; its figures stay (name it)")
    return not benchmark.only_named


def _renew(benchmark: Benchmark, history: History) -> bool:
    """Measure and write; False where it failed, True also where it is left out."""
    if obstacle := benchmark.obstacle():
        print(f"{benchmark.name}: left out, {obstacle}; its figures stay", flush=True)
        return True
    print(f"{benchmark.name}: begun at {time.strftime('%H:%M')}, about {benchmark.minutes} min", flush=True)
    before = history.now()
    try:
        text, remarks = measure(benchmark)
    except BenchmarkFailed as problem:
        print(f"{benchmark.name}: {problem}\nits older figures stay", file=sys.stderr, flush=True)
        return False
    after = history.now()
    stamp = replace(before, dirty=before.dirty or after.dirty or before.commit != after.commit)
    page = history.root / history.page
    page.write_text(replaced(page.read_text(), benchmark.name, stamp, remarks, text))
    print(text, flush=True)
    return True
