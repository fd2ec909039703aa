"""The command: ``python -m orchestrator.export STUDY``: a study for Optuna, for TensorBoard, or as a table.

Exit codes: 0 written, 2 no such study, or it cannot be written there.
"""

import argparse
import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.errors import InputError
from orchestrator.export.shown_study import ShownStudy, read_study
from orchestrator.report.pages.numbers import count
from orchestrator.store.addresses import redacted, storage_errors
from orchestrator.store.commands import program
from orchestrator.store.records import Store, open_study
from orchestrator.terminal.console import announced, open_console
from orchestrator.terminal.options import add_study
from trainable.program import usage_name

FORMATS = ("optuna", "tensorboard", "csv")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    command = parser()
    options = command.parse_args(argv)
    if not any(getattr(options, name) is not None for name in FORMATS):
        command.error(f"give one of {', '.join(f'--{name}' for name in FORMATS)}, or several")
    try:
        store, kept = open_study(options.storage, options.study)
        with storage_errors(f"--storage {options.storage}"):
            study = read_study(store, kept)
        for warning in study.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        for line in _written(study, store, options):
            print(line)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    command = argparse.ArgumentParser(
        prog=usage_name("orchestrator.export"),
        description="Write a study for other programs, or anew.",
    )
    add_study(command)
    add = command.add_argument
    add("--optuna", metavar="URL", help="database of Optuna's, such as sqlite:///study.db, or a journal file")
    add("--tensorboard", metavar="DIR", help="local folder for TensorBoard's event files")
    add("--csv", metavar="FILE", help="table with a row per trial and epoch")
    add("--force", action="store_true", help="replace a study of Optuna's of this name from elsewhere")
    return command


def _written(study: ShownStudy, store: Store, options: argparse.Namespace) -> Iterator[str]:
    if options.optuna is not None:
        yield from _optuna(study, options.optuna, force=options.force)
    if options.tensorboard is not None:
        yield from _tensorboard(study, store, options.tensorboard)
    if options.csv is not None:
        yield _csv(study, options.csv)


def _optuna(study: ShownStudy, address: str, *, force: bool) -> Iterator[str]:
    from orchestrator.export.optuna_storage import write_studies  # late: each format has heavy packages of its own
    from orchestrator.export.optuna_studies import optuna_studies

    studies = optuna_studies(study)
    everything = count(sum(len(one.trials) for one in studies), "trial")
    with announced(open_console(), f"writing {everything} to {redacted(address)}"):
        write_studies(studies, study.id, address, force=force)
    for one in studies:
        more = f"; left out, as outside of what the study is now: {', '.join(one.left_out)}" if one.left_out else ""
        yield f"optuna       {one.name}: {count(len(one.trials), 'trial')}{more}"
    yield f"look at it   {program('optuna-dashboard', redacted(address))}"


def _tensorboard(study: ShownStudy, store: Store, folder: str) -> Iterator[str]:
    from orchestrator.export.event_files import write_events

    if "://" in folder or not folder.strip() or (os.path.exists(folder) and not os.path.isdir(folder)):
        raise InputError(f"--tensorboard {redacted(folder)}: is no local folder")
    with storage_errors(f"--tensorboard {folder}"):
        place = write_events(study, Path(folder), store.objects)
    yield f"tensorboard  {place}: {count(len(study.trials), 'run')}"
    yield f"look at it   {program('tensorboard', '--logdir', str(place))}"


def _csv(study: ShownStudy, file: str) -> str:
    from pyarrow.csv import write_csv

    from orchestrator.store.results_table import table

    rows = table([trial.record for trial in study.trials])
    buffer = io.BytesIO()
    write_csv(rows, buffer)
    try:
        Path(file).write_bytes(buffer.getvalue())
    except OSError as error:
        raise InputError(f"--csv {file}: {error.strerror}") from error
    return f"csv          {file}: {count(len(rows), 'row')}"


if __name__ == "__main__":
    sys.exit(main())
