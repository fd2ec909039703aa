"""The command: ``python -m orchestrator.export STUDY``: a study for Optuna, for TensorBoard, or as a table.

Exit codes: 0 written, 2 no such study, or it cannot be written there.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TextIO

from orchestrator.errors import InputError
from orchestrator.export.shown_study import ShownStudy, read_study
from orchestrator.export.table_file import check_table_file, is_stdout, write_table_file
from orchestrator.report.pages.numbers import count
from orchestrator.store.addresses import redacted, storage_errors
from orchestrator.store.commands import program
from orchestrator.store.foreign_files import refuse_inside
from orchestrator.store.records import Store, open_study
from orchestrator.terminal.console import announced, open_console
from orchestrator.terminal.options import add_study
from trainable.program import leave, usage_name

FORMATS = ("optuna", "tensorboard", "csv")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    command = parser()
    options = command.parse_args(argv)
    if not any(getattr(options, name) is not None for name in FORMATS):
        command.error(f"give one of {', '.join(f'--{name}' for name in FORMATS)}, or several")
    try:
        if options.csv is not None and is_stdout(options.csv):
            return _with_table_on_stdout(options, sys.stdout)
        _export(options, None)
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
    add("--csv", metavar="FILE", help="table with a row per trial and epoch; - is stdout")
    add("--force", action="store_true", help="replace a study of Optuna's of this name from elsewhere, or another file")
    return command


def _with_table_on_stdout(options: argparse.Namespace, stdout: TextIO) -> int:
    """The table stands alone on stdout; what is said goes to stderr."""
    with redirect_stdout(sys.stderr):
        _export(options, stdout)
    return 0


def _export(options: argparse.Namespace, stdout: TextIO | None) -> None:
    store, kept = open_study(options.storage, options.study)
    _check_places(store, options)
    with storage_errors(f"--storage {options.storage}"):
        study = read_study(store, kept)
    for warning in study.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for line in _written(study, store, options, stdout):
        print(line)


def _check_places(store: Store, options: argparse.Namespace) -> None:
    """Refuse before anything is read what cannot, or should not, be written."""
    if options.optuna is not None:
        from orchestrator.export.optuna_storage import check_address  # late: each format has heavy packages of its own

        check_address(options.optuna, store.storage)
    folder = options.tensorboard
    if folder is not None:
        if not folder.strip():
            raise InputError("--tensorboard: names no folder")
        if "://" in folder or (os.path.exists(folder) and not os.path.isdir(folder)):
            raise InputError(f"--tensorboard {redacted(folder)}: is no local folder")
        refuse_inside(f"--tensorboard {folder}", Path(folder) / store.study, store.storage)
    if options.csv is not None:
        check_table_file(options.csv, store.storage, force=options.force)


def _written(study: ShownStudy, store: Store, options: argparse.Namespace, stdout: TextIO | None) -> Iterator[str]:
    if options.optuna is not None:
        yield from _optuna(study, options.optuna, force=options.force)
    if options.tensorboard is not None:
        yield from _tensorboard(study, store, options.tensorboard)
    if options.csv is not None:
        yield _csv(study, options.csv, stdout)


def _optuna(study: ShownStudy, address: str, *, force: bool) -> Iterator[str]:
    from orchestrator.export.optuna_storage import write_studies
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

    with storage_errors(f"--tensorboard {folder}"):
        place = write_events(study, Path(folder), store.objects)
    yield f"tensorboard  {place}: {count(len(study.trials), 'run')}"
    yield f"look at it   {program('tensorboard', '--logdir', str(place))}"


def _csv(study: ShownStudy, file: str, stdout: TextIO | None) -> str:
    from orchestrator.store.results_table import table

    rows = table([trial.record for trial in study.trials])
    write_table_file(rows, file, stdout)
    return f"csv          {'stdout' if stdout else file}: {count(len(rows), 'row')}"


if __name__ == "__main__":
    leave(main())
