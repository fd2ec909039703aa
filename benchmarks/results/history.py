"""What git knows: the commit that is measured, and how far figures lie behind."""

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from .page import Figures, Stamp


@dataclass(frozen=True)
class History:
    """The repository that holds a page."""

    root: Path
    page: str
    """From the root; its own change makes no measurement dirty."""

    def now(self) -> Stamp:
        """The commit that is checked out, and whether files differ from it (new ones that git does not ignore too).

        Raises:
            OSError: there is no git here, or no repository.
        """
        commit = self._git("rev-parse", "--short=7", "HEAD")
        changed = self._git("status", "--porcelain", "--", ".", f":(exclude){self.page}")
        return Stamp(commit, date.today(), dirty=bool(changed))

    def age(self, figures: Figures, measures: Iterable[str], today: date) -> str:
        """A line on how old figures are; only days where git does not know their commit."""
        stamp = figures.stamp
        line = f"{figures.name:<22} {stamp}: {_count((today - stamp.day).days, 'day')}"
        try:
            behind = int(self._git("rev-list", "--count", f"{stamp.commit}..HEAD"))
            changed = len(self._git("diff", "--name-only", stamp.commit, "--", *measures).splitlines())
        except (OSError, ValueError) as problem:
            return f"{line}; {problem}"
        since = (
            f"{_count(changed, 'file')} that it measures changed since"
            if changed
            else "nothing that it measures changed"
        )
        return f"{line}, {_count(behind, 'commit')}; {since}"

    def _git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.root, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"git {arguments[0]}: {done.stderr.strip().splitlines()[0] if done.stderr else 'failed'}")
        return done.stdout.strip()


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
