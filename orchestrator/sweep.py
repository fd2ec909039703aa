"""The command: ``python -m orchestrator.sweep SPEC``.

Runs the study of a YAML file, or continues it: trials that ended are kept, all others run. Exit codes: 0 all trials
ended well, 2 bad input, 3 finished but some trials failed, 75 try again later (``EX_TEMPFAIL`` of sysexits.h), 130 or
143 interrupted.

Heavy packages are imported where they are first needed, so that a mistake in a file is told at once.
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.driver.stop import Stop
from orchestrator.errors import InputError, TryAgain
from orchestrator.store.commands import again, is_dry
from orchestrator.terminal.options import add_storage, add_version, count
from trainable.program import collect_rarely, leave, usage_name

if TYPE_CHECKING:
    from trainable.model.run_reference import RunReference


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    with Stop(again(arguments)) as stop:
        return _main(arguments, stop)


def run_process(arguments: Sequence[str]) -> int:
    """Run the command as the last thing that a process does; returns the exit code."""
    collect_rarely()
    owner = Stop(again(arguments)).__enter__()  # never left: a signal must not meet the process's last moment
    return owner.finished(_main(arguments, owner))


def _main(arguments: Sequence[str], stop: Stop) -> int:
    try:
        return _run(arguments, stop)
    except (KeyboardInterrupt, Exception) as error:
        stop.settle()
        if stop.exit_code is not None:  # whatever fails once a stop was asked for fails because of it
            kept = f"nothing that finished is lost. Continue with:  {again(arguments)}"
            dry = "nothing was started and nothing was written."
            print(f"{stop.end_in_words}; {dry if is_dry(arguments) else kept}", file=sys.stderr)
            return stop.exit_code
        if not isinstance(error, InputError | TryAgain):
            raise
        print(error, file=sys.stderr)
        return 2 if isinstance(error, InputError) else os.EX_TEMPFAIL


def _run(arguments: Sequence[str], stop: Stop) -> int:
    options = parser().parse_args(arguments)
    from orchestrator.studyfile import ConfigError  # late: a signal must not come before its owner

    try:
        return _run_study(options, again(arguments), stop)
    except ConfigError as error:
        raise InputError(str(error)) from error


def _run_study(options: argparse.Namespace, command: str, stop: Stop) -> int:
    from orchestrator.studyfile import load

    def content_of(reference: "RunReference", name: str, uri: str | None) -> str:
        from orchestrator.launch import run_weights  # late: most studies name no run

        return run_weights.content_of(options.storage, reference, name, uri)

    from orchestrator.terminal.console import announced, open_console  # late: as the file's mistakes come first

    with announced(open_console(), f"Reading {options.spec}"):
        study = load(options.spec, options.set, content_of=content_of)
        from orchestrator.launch.one_launch import Target, launch

    stop.bounded = options.until is not None
    target = Target(
        options.address,
        max_concurrent=options.max_concurrent,
        until=math.inf if options.until is None else options.until,
        retry_failed=options.retry_failed,
        wait=not options.no_wait,
    )
    if options.dry_run:
        from orchestrator.launch.dry_run import dry_run

        return dry_run(study, storage=options.storage, target=target, command=command)
    return launch(study, storage=options.storage, target=target, command=command, stop=stop)


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    command = argparse.ArgumentParser(
        prog=usage_name("orchestrator.sweep"),
        description="Run the study of a YAML file, or continue it.",
        epilog="exit codes: 0 all trials ended well; 2 bad input; 3 some trials failed; 75 try again later; "
        "130, 143 interrupted",
    )
    add = command.add_argument
    add_version(command)
    add("spec", metavar="SPEC", help="study file, e.g. search_spaces/shapes.yaml")
    add("--set", action="append", default=[], metavar="PATH=VALUE", help="override a value of the file; repeatable")
    add("--dry-run", action="store_true", help="show what would run, at what cost and where; start and write nothing")
    add_storage(command)
    add("--address", metavar="ADDR", help="Ray cluster to use (default: that of this job, else a Ray of this machine)")
    add("--retry-failed", action="store_true", help="run trials that failed by themselves again")
    add("--no-wait", action="store_true", help="exit with 75 at once where another launch runs the study")
    add("--max-concurrent", type=count, metavar="N", help="trials at a time; replaces resources.max_concurrent")
    until = "end before: seconds since 1970, or a date like 2027-01-15T08:00; what is left exits with 75"
    add("--until", type=_moment, metavar="TIME", help=until)
    return command


def _moment(text: str) -> float:
    """A point in time that lies ahead, in seconds since 1970."""
    from orchestrator.studyfile.moment import moment  # late: nothing else needs it to read the command

    try:
        seconds = moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if seconds <= time.time():
        raise argparse.ArgumentTypeError(f"must lie ahead, got {text[:40]!r}, {time.time() - seconds:.0f} s ago")
    return seconds


if __name__ == "__main__":
    leave(run_process(sys.argv[1:]))
