"""Runs the command of ``tracking.notify``: without a shell, for a while, with no hold on the launch."""

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from tempfile import TemporaryFile
from typing import IO

from orchestrator.driver.signal_owner import ASKING
from orchestrator.errors import InputError, refusal
from orchestrator.studyfile import Study
from trainable.configfile.mistakes import printable
from trainable.configfile.node import JsonObject

SETTING = "tracking.notify"
LAST_LINE = 200
"""Characters of the command's last line that are told when it fails."""


class NoticeCommand:
    """The command of a study; what is told of it shows values of ``${NAME}`` as the study file writes them."""

    def __init__(self, study: Study) -> None:
        command = study.spec.tracking.notify
        written = study.from_env.get(SETTING, command)
        self._places = study.places
        self._words = shlex.split(command) if command else []
        self._shown = _words(written) if written else []
        self.written = written
        """As the study file writes it; None where there is none."""

    def check(self) -> None:
        """Refuse a program that this machine does not have, or cannot start.

        Raises:
            InputError: it does not.
        """
        if self._words and shutil.which(self._words[0]) is None:
            name = self._masked(self._words[0])
            raise InputError(self._places.mistake(SETTING, _lack(self._words[0], name)))

    def run(self, notice: JsonObject, variables: Mapping[str, str], limit_s: float) -> str | None:
        """Run it, and end it after so many seconds; whoever interrupts the main thread ends it too.

        Args:
            notice: What it reads on stdin.
            variables: What its environment holds besides the launch's.
            limit_s: How long it may take.

        Returns:
            Why it failed, in one line; None where it did not.
        """
        with TemporaryFile() as given, TemporaryFile() as printed:  # files, as pipes may stay open when it has ended
            given.write(f"{json.dumps(notice)}\n".encode())
            given.seek(0)
            try:
                process = _start(self._words, given, printed, variables)
            except OSError as error:
                return f"{SETTING}: cannot be started: {refusal(error)}"
            with _ended_with_this(process):
                try:
                    code = process.wait(limit_s)
                except subprocess.TimeoutExpired:
                    return f"{SETTING}: ended after {limit_s:.0f} s"
            return f"{SETTING}: exit code {code}{self._last_line(printed)}" if code else None

    def _last_line(self, printed: IO[bytes]) -> str:
        printed.seek(0)
        lines = printed.read().decode(errors="replace").strip().splitlines()
        return f": {self._masked(printable(lines[-1]))[:LAST_LINE]}" if lines else ""

    def _masked(self, text: str) -> str:
        for word in self._words:
            if word not in self._shown:
                text = text.replace(word, "***")
        return text


def _lack(program: str, name: str) -> str:
    """Why a program, shown by a name, cannot be started here."""
    if os.sep in program and os.path.isdir(program):
        return f"'{name}' is a folder; give the path of a program"
    if os.sep in program and os.path.exists(program):
        return (
            f"'{name}' is not executable; chmod +x makes it so, or name the program that reads it in front: sh {name}"
        )
    if os.path.isfile(program):  # without a slash it is looked for in PATH alone
        return f"no program '{name}' on this machine; the file here is ./{name}"
    where = "" if os.sep in program else "; give its whole path"
    return f"no program '{name}' on this machine{where}"


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a value holds the quote that closes it
        return command.split()


def _start(
    words: Sequence[str], given: IO[bytes], printed: IO[bytes], variables: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own: a Ctrl-C on the terminal is the launch's, and signals reach it."""
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING)  # of the launch, which children would inherit
    try:
        return subprocess.Popen(
            words, stdin=given, stdout=printed, stderr=subprocess.STDOUT, env={**os.environ, **variables},
            start_new_session=True,
        )  # fmt: skip
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _ended_with_this(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
