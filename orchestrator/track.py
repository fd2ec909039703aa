"""The command: ``python -m orchestrator.track STUDY``: send MLflow what it lacks of a study.

For a study whose launches ended while MLflow was away, or that is to be shown on another server as well
(``MLFLOW_TRACKING_URI``, ``--uri``). It runs no trial. Exit codes: 0 MLflow has everything, 2 bad input, 3 it could not
take everything, 75 a launch is at work (it tells MLflow itself; try again later), 130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial

from rich.console import Console

from orchestrator.errors import InputError, TryAgain
from orchestrator.store.addresses import redacted, storage_errors
from orchestrator.store.lease import lease, wait_until_free
from orchestrator.store.records import Store, open_study
from orchestrator.store.trial_record import Record, State
from orchestrator.terminal.console import open_console, say
from orchestrator.terminal.options import add_study
from orchestrator.tracking import StudyInfo, Tracker
from orchestrator.tracking.address_check import check_address
from orchestrator.tracking.destination import tracked_at
from orchestrator.tracking.ending import EndOfRuns
from trainable.program import leave, usage_name


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(argv)
    try:
        return track(options.storage, options.study, options.uri)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except TryAgain as error:
        print(error, file=sys.stderr)
        return os.EX_TEMPFAIL
    except KeyboardInterrupt:
        print("Interrupted; the same command sends the rest.", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    command = argparse.ArgumentParser(
        prog=usage_name("orchestrator.track"),
        description="Send MLflow what it lacks of a study.",
        epilog="exit codes: 0 MLflow has everything; 2 bad input; 3 MLflow could not take all; 75 try again later",
    )
    add_study(command)
    command.add_argument("--uri", metavar="URI", help="tracking server or database (default: the study's own)")
    return command


def track(storage: str, study: str, uri: str | None = None) -> int:
    """Bring MLflow's runs in step with the study's records; returns the exit code.

    Raises:
        InputError: There is no such study, the storage or the address cannot be used.
        TryAgain: A launch is at work.
    """
    console = open_console()
    store, kept = open_study(storage, study)
    target, setting = (uri, "--uri") if uri is not None else tracked_at(kept.specification)
    if target is None:
        raise InputError(f"{store.address}: the study has tracking.enabled: false; --uri says where to send it")
    check_address(target, setting)
    tell = partial(say, console)
    with storage_errors(f"--storage {storage}"):
        silent = wait_until_free(store.objects, tell, wait=False)
        with lease(store.objects, tell, silent):
            return _send(store, StudyInfo(store, kept), target, console)


def _send(store: Store, info: StudyInfo, uri: str, console: Console) -> int:
    records = [_ended(record) for record in store.records()]
    for warning in store.warnings:
        say(console, f"warning: {warning}")
    tracker = Tracker(uri, info)
    for record in records:
        tracker.update(record)
    whole = all(record.state.final for record in records if record.planned.kind != "prefix")
    problem = EndOfRuns(tracker, store, records, info.objective, whole=whole).wait()
    if problem:
        say(console, problem)
        return 3
    epochs = sum(len(record.epochs) for record in records)
    waiting = sum(not record.state.final for record in records)
    more = f"; {waiting} trials are unfinished: the same launch again goes on with them" if waiting else ""
    say(console, f"{redacted(uri)} has all {len(records)} trials and {epochs} epochs of {store.study}{more}")
    if tracker.page:
        say(console, f"page  {tracker.page}")
    return 0


def _ended(record: Record) -> Record:
    """The record as it stands while no launch is at work: what has no verdict is interrupted."""
    if record.state is not State.RUNNING:
        return record
    return record.ended(
        State.INTERRUPTED, record.reason or "no launch is at work; the same launch again goes on with it"
    )


if __name__ == "__main__":
    leave(main())
