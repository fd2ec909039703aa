"""The launch that a job runs: its study file and options, checked as the launch itself would check them."""

import argparse
from collections.abc import Mapping, Sequence

from orchestrator import sweep
from orchestrator.errors import InputError
from orchestrator.studyfile import ConfigError, Study, load

UNKNOWN_CONTENT = "0" * 64
"""Stands for the content of a run's weights: the job looks it up."""


def checked_launch(
    spec: str, words: Sequence[str], environment: Mapping[str, str] | None = None
) -> tuple[Study, argparse.Namespace]:
    """The study and the options of ``python -m orchestrator.sweep SPEC WORDS``, where the words stand after ``--``.

    The environment is that of the job, on machines that have their own data: None where both are those of this machine.

    Raises:
        InputError: the study file cannot be run, or an option has no place in a job.
    """
    if "--" in words:
        raise InputError("options of the sweep: one -- is enough, it ends the options of the job")
    options = sweep.parser().parse_args([*words, "--", spec])
    if options.address is not None:
        raise InputError(f"--address {options.address}: a job starts a Ray of its own; leave it away")
    if options.dry_run:
        raise InputError("--dry-run: give it before --, to see the job, or to the sweep itself, to see what would run")
    try:
        here = environment is None
        study = load(spec, options.set, environment, lambda *_: UNKNOWN_CONTENT, data_here=here)
    except ConfigError as error:
        raise InputError(str(error)) from error
    return study, options
