"""Options that several commands have. Imports nothing heavy, so that a mistake in a file is told at once."""

import argparse
import re
import sys
from typing import NoReturn


def add_study(parser: argparse.ArgumentParser) -> None:
    """Add ``STUDY`` and ``--storage``, which name a study that was launched."""
    parser.add_argument("study", metavar="STUDY", help="name of the study")
    add_storage(parser)


def add_storage(parser: argparse.ArgumentParser, default: str | None = "studies") -> None:
    """Add ``--storage``; a default of None tells a study's name from its directory."""
    parser.add_argument("--storage", default=default, metavar="DIR", help="folder of the studies (default: studies)")


def add_version(parser: argparse.ArgumentParser) -> None:
    """Add ``--version``."""
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version, and the commit of a checkout")


class _Version(argparse.Action):
    """Shows the version, which is looked up only then."""

    def __call__(self, *_: object) -> NoReturn:
        from orchestrator.store.checkout import version_line

        print(version_line())
        sys.exit(0)


def count(text: str) -> int:
    """A whole number from 1 on, for ``type=``."""
    if not re.fullmatch("[0-9]{1,6}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 999999, got {text[:20]!r}")
    return int(text)
