"""The command: ``dropclass compare STUDY STUDY``: two studies side by side, from their directories alone.

The best, references and arms by name; differences, paired where runs have equal seeds on equal data; settings in which
the study files differ. Exit codes: 0 shown, 2 no such study or metric.
"""

import argparse
import sys
from collections.abc import Sequence

from orchestrator.errors import InputError
from orchestrator.terminal.options import add_storage
from trainable.program import leave, usage_name

FORMATS = ("text", "md", "csv")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(argv)
    try:
        print(_compared(options))
        return 0
    except InputError as error:
        print(error, file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    command = argparse.ArgumentParser(
        prog=usage_name("orchestrator.compare_studies"), description="Show two studies side by side, A and B."
    )
    add = command.add_argument
    add("first", metavar="STUDY", help="A: name or directory of a study")
    add("second", metavar="STUDY", help="B: the study that is compared with it")
    add("--metric", action="append", metavar="NAME", help="a metric that both have; may be given repeatedly")
    add("--format", choices=FORMATS, default="text", help="default: %(default)s; csv holds the values alone")
    add_storage(command, default=None)
    return command


def _compared(options: argparse.Namespace) -> str:
    from orchestrator.api.comparing import compare  # late: statistics take seconds
    from orchestrator.api.comparison_tables import as_markdown, as_text
    from orchestrator.terminal.console import open_console

    metrics = [name for text in options.metric or () for name in text.split(",") if name]
    comparison = compare(options.first, options.second, metrics=metrics or None, storage=options.storage)
    if options.format == "csv":
        text: str = comparison.frame().to_csv(index=False)
        return text.rstrip("\n")
    return as_markdown(comparison) if options.format == "md" else as_text(comparison, open_console().width)


if __name__ == "__main__":
    leave(main())
