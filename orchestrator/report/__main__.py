"""The command: ``python -m orchestrator.report STUDY``: a study's statistics, figures and pages, from its directory.

Exit codes: 0 written, 2 no such study, no table, bad input.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from orchestrator.errors import InputError
from orchestrator.report.build import FORMATS, USUAL, write_report
from orchestrator.report.pages.document import Format
from orchestrator.store.addresses import storage_errors
from orchestrator.store.records import Store, open_study
from orchestrator.store.tracking_note import page_of
from orchestrator.terminal.options import add_study
from trainable.program import leave, usage_name


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(argv)
    try:
        store, written = _write(options)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(address for address in written if "/figures/" not in address and "/tables/" not in address))
    if (page := page_of(store.objects)) is not None:
        print(f"MLflow's page: {page}")
    return 0


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    command = argparse.ArgumentParser(
        prog=usage_name("orchestrator.report"), description="Write a study's statistics, figures and pages."
    )
    add_study(command)
    add = command.add_argument
    add(
        "--format",
        default=",".join(USUAL),
        type=_formats,
        metavar="F,F",
        help=f"some of {','.join(FORMATS)} (default: %(default)s)",
    )
    add("--metric", action="append", metavar="NAME", help="a metric to compare; may be given repeatedly")
    add("--out", metavar="DIR", help="local folder to write to (report/ in the study's folder)")
    return command


def _formats(text: str) -> list[Format]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    formats: list[Format] = [form for form in FORMATS if form in names]
    wrong = [name for name in names if name not in FORMATS]
    if wrong or not formats:
        raise argparse.ArgumentTypeError(f"'{wrong[0] if wrong else text}' is none of {', '.join(FORMATS)}")
    return formats


def _write(options: argparse.Namespace) -> tuple[Store, list[str]]:
    """Write the report; returns the study's directory, and what was written.

    Raises:
        InputError: bad input, or a storage or folder that cannot be used.
    """
    if options.out is not None and not options.out.strip():
        raise InputError("--out: names no folder")
    if options.out is not None and os.path.exists(options.out) and not os.path.isdir(options.out):
        raise InputError(f"--out {options.out}: is a file; give a folder")
    metrics = [name for text in options.metric or () for name in text.split(",") if name]
    store, _ = open_study(options.storage, options.study)
    with storage_errors(f"--out {options.out}" if options.out else f"--storage {options.storage}"):
        return store, write_report(store, formats=options.format, metrics=metrics or None, out=options.out)


if __name__ == "__main__":
    leave(main())
