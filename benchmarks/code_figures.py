"""Sizes and untyped places of the code, by package: ``python benchmarks/code_figures.py [FOLDER]``.

Lines are all lines of the modules. A function's lines run from its ``def`` to its end, those of methods and inner
functions too; p90 is the length that nine in ten do not exceed. ``Any`` is counted as a name token outside of imports,
strings aside, per 1,000 lines.
"""

import argparse
import ast
import io
import math
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("orchestrator", "trainable")
LONGEST_MODULE = 300


@dataclass(frozen=True)
class Module:
    """What one file holds."""

    path: Path
    lines: int
    any_tokens: int
    function_lines: tuple[int, ...]


def read_module(path: Path) -> Module:
    """Count a file."""
    text = path.read_text()
    tree = ast.parse(text)
    imports = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    names = [t for t in tokens if t.type == tokenize.NAME and t.string == "Any" and t.start[0] not in imports]
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = tuple((function.end_lineno or function.lineno) - function.lineno + 1 for function in functions)
    return Module(path, len(text.splitlines()), len(names), lengths)


def percentile(values: list[int], share: float) -> int:
    """The value that a share of the values does not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else 0


def rows(folder: Path) -> Iterator[tuple[str, list[Module]]]:
    """The modules of each package, of its packages too, and of both together."""
    everything: list[Module] = []
    for package in PACKAGES:
        modules = [read_module(path) for path in sorted((folder / package).rglob("*.py"))]
        everything += modules
        rooms = sorted({module.path.relative_to(folder).parts[1] for module in modules if module.path.parent.name})
        yield package, modules
        for room in rooms:
            inside = [module for module in modules if module.path.is_relative_to(folder / package / room)]
            if not room.endswith(".py"):
                yield f"  {room}", inside
    yield "both", everything


def main(folder: Path) -> int:
    """Print the figures; returns 1 where a module is too long."""
    print(f"{'':<16} modules  lines  longest  functions  p90  longest  Any  per 1,000")
    modules: list[Module] = []
    for name, modules in rows(folder):
        lines = sum(module.lines for module in modules)
        functions = [length for module in modules for length in module.function_lines]
        found = sum(module.any_tokens for module in modules)
        print(
            f"{name:<16} {len(modules):>7}  {lines:>5}  {max(module.lines for module in modules):>7}  "
            f"{len(functions):>9}  {percentile(functions, 0.9):>3}  {max(functions, default=0):>7}  {found:>3}  "
            f"{1000 * found / lines:>9.1f}"
        )
    too_long = [
        f"{module.path.relative_to(folder)} ({module.lines})" for module in modules if module.lines > LONGEST_MODULE
    ]
    print(f"modules over {LONGEST_MODULE} lines: {', '.join(too_long) or 'none'}")
    return 1 if too_long else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parents[1], help="with the packages")
    sys.exit(main(parser.parse_args().folder))
