"""Which code this is: the version of the package, and the commit where it is a checkout of this project."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from orchestrator import __version__

PACKAGE = Path(__file__).resolve().parents[1]
GIT_SECONDS = 10.0


@dataclass(frozen=True)
class Checkout:
    """The state of a checkout."""

    commit: str
    dirty: bool
    """Whether files that git knows have been changed since."""


def checkout() -> Checkout | None:
    """The checkout that this code lies in; None where it is installed, or git is not.

    A package that is installed may lie below a folder that is a repository of something else: its files are unknown
    there.
    """
    try:
        _git("ls-files", "--error-unmatch", "--", str(PACKAGE / "__init__.py"))
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", str(PACKAGE.parent))
        return Checkout(_git("rev-parse", "HEAD"), bool(changed))
    except (OSError, subprocess.SubprocessError):
        return None


def version_line() -> str:
    """The version as ``--version`` shows it."""
    here = checkout()
    commit = "" if here is None else f" (commit {here.commit[:12]}{', changed since' if here.dirty else ''})"
    return f"dropclass-orchestrator {__version__}{commit}"


def _git(*words: str) -> str:
    command = ("git", "-C", str(PACKAGE), *words)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=GIT_SECONDS)
    return done.stdout.strip()
