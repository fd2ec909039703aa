"""The command: ``python -m orchestrator.submit KIND SPEC``: submit the launch of a study as a job of a cluster.

Exit codes: 0 submitted (or shown, with ``--dry-run``), 2 bad input, or the cluster refuses the job.
"""

import argparse
import sys
from collections.abc import Sequence

from orchestrator.errors import InputError
from orchestrator.submit import kuberay, slurm
from trainable.program import usage_name

KINDS = (slurm, kuberay)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options, others = parser().parse_known_args(arguments[:end])
    try:
        return int(options.run(options, others, arguments[end + 1 :]))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    command = argparse.ArgumentParser(
        prog=usage_name("orchestrator.submit"),
        description="Submit the launch of a study as a job of a cluster.",
        epilog="exit codes: 0 submitted; 2 bad input, or the cluster refuses the job",
        allow_abbrev=False,
    )
    kinds = command.add_subparsers(title="kinds of clusters", metavar="KIND", required=True)
    for kind in KINDS:
        kind.add_parser(kinds)
    return command


if __name__ == "__main__":
    sys.exit(main())
