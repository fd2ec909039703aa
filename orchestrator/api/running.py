"""Studies run from Python: the launch that ``python -m orchestrator.sweep`` makes, in a process that goes on."""

import json
import math
import os
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from orchestrator.api.arguments import names, path_text
from orchestrator.api.loading import STORAGE, find_study
from orchestrator.api.study import Study, read_study
from orchestrator.driver.guest_stop import GuestStop
from orchestrator.errors import InputError
from orchestrator.store.commands import CALL, again
from trainable.configfile.node import JsonObject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.launch.one_launch import Target
    from orchestrator.studyfile import Study as StudyFile
    from trainable.model.run_reference import RunReference

Overrides: TypeAlias = Mapping[str, object] | Sequence[str]
"""``{"train.epochs": 2}``, or the texts of ``--set``: ``["train.epochs=2"]``."""


def run(
    spec: str | Path | Mapping[str, object],
    *,
    set: Overrides = (),
    storage: str | Path = STORAGE,
    address: str | None = None,
    max_concurrent: int | None = None,
    retry_failed: bool = False,
    wait: bool = True,
    until: float | datetime | None = None,
) -> Study:
    """Run a study, or continue it: trials that ended are kept, all others run. The same as the command ``sweep``.

    In a notebook the trials are shown in one place that is kept up to date; elsewhere as the command shows them.
    Interrupting (Ctrl-C, the kernel's stop button) waits for the epochs in flight, writes everything down, leaves Ray
    and raises KeyboardInterrupt; doing it again interrupts at once. The process itself is never ended. In a thread
    other than the main one nothing interrupts.

    Args:
        spec: A study file, or what one holds as a mapping.
        set: Values that replace those of the file, by their paths; a domain can be replaced by a value.
        storage: Folder or address of the studies.
        address: Ray cluster; None takes that of this job, else a Ray of this machine.
        max_concurrent: Trials at a time; None takes the file's.
        retry_failed: Whether trials that failed by themselves run again.
        wait: Whether a study that another launch runs is waited for.
        until: When the launch has to have ended: a time, or seconds since 1970.

    Returns:
        The study. Trials that failed are its ``failed``, what is left to run ``unfinished``; ``exit_code`` is 0 where
        all trials ended well.

    Raises:
        InputError: Something the user can mend, all mistakes at once; nothing was written.
        TryAgain: Another moment may allow it: another launch is at work, and ``wait`` is false.
        KeyboardInterrupt: It was interrupted; what ended is kept, and the same call goes on.
    """
    where = path_text(storage, "storage")
    with _file_of(spec) as file:
        call = _Call(file, _options(set), where, of_mapping=isinstance(spec, Mapping))
        with _named(call):
            study = _read(call)
            target = _target(address, max_concurrent, retry_failed, wait, until)
            code = _launch(study, target, call)
    store, kept = find_study(study.spec.study, where)
    return read_study(store, kept, exit_code=code)


@dataclass(frozen=True)
class _Call:
    file: str
    options: tuple[str, ...]
    """As ``--set`` takes them."""
    storage: str
    of_mapping: bool
    """Whether the file is one of ours, which is gone when the call ends."""

    @property
    def again(self) -> str:
        """What continues the study: a command, or of a study without a file the same call."""
        if self.of_mapping:
            return CALL
        words = [word for option in self.options for word in ("--set", option)]
        storage = [] if self.storage == STORAGE else ["--storage", self.storage]
        return again([self.file, *words, *storage])


@contextmanager
def _file_of(spec: str | Path | Mapping[str, object]) -> "Iterator[str]":
    """The path of the study file; a mapping becomes a file for as long as the launch lasts."""
    if not isinstance(spec, Mapping):
        yield path_text(spec, "the study file")
        return
    from trainable.configfile.trees import write_yaml  # late: yaml

    with tempfile.TemporaryDirectory(prefix="study-") as folder:
        path = Path(folder) / "study.yaml"
        path.write_text(write_yaml(_plain(spec)), encoding="utf-8")
        yield str(path)


@contextmanager
def _named(call: _Call) -> "Iterator[None]":
    """Leave a file out of the mistakes of a study that has none."""
    try:
        yield
    except InputError as error:
        if not call.of_mapping:
            raise
        raise InputError(re.sub(rf"{re.escape(call.file)}:(\d+)? ", "the mapping: ", str(error))) from None


def _plain(spec: Mapping[str, object]) -> JsonObject:
    try:
        tree: JsonObject = json.loads(json.dumps(dict(spec), allow_nan=True, default=_plain_value))
    except (TypeError, ValueError) as error:
        raise InputError(f"the mapping: {error}; it holds numbers, texts, lists and mappings alone") from error
    return tree


def _plain_value(value: object) -> object:
    """Paths and numpy's numbers as JSON has them."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r} stands for no value of a study file")


def _options(overrides: Overrides) -> tuple[str, ...]:
    if isinstance(overrides, str):
        raise InputError(f"set: a mapping, or a list of texts like 'train.epochs=2'; got the text '{overrides}'")
    if not isinstance(overrides, Mapping):
        return names(overrides, "set")
    return tuple(f"{path}={_written(value)}" for path, value in _plain(overrides).items())


def _written(value: object) -> str:
    """A value as ``--set`` reads it: YAML, of which JSON is a part."""
    return json.dumps(value, ensure_ascii=False)


def _read(call: _Call) -> "StudyFile":
    from orchestrator.studyfile import ConfigError, load

    def content_of(reference: "RunReference", name: str, uri: str | None) -> str:
        from orchestrator.launch import run_weights  # late: most studies name no run

        return run_weights.content_of(call.storage, reference, name, uri)

    try:
        return load(call.file, call.options, content_of=content_of)
    except ConfigError as error:
        raise InputError(str(error)) from None


def _target(
    address: str | None, max_concurrent: int | None, retry_failed: bool, wait: bool, until: float | datetime | None
) -> "Target":
    from orchestrator.launch.one_launch import Target

    if max_concurrent is not None and not (isinstance(max_concurrent, int) and max_concurrent >= 1):
        raise InputError(f"max_concurrent: must be 1 or more, a whole number; got {max_concurrent!r}")
    if until is not None and not isinstance(until, float | int | datetime):
        raise InputError(f"until: a time or seconds since 1970; got {until!r}")
    seconds = until.timestamp() if isinstance(until, datetime) else math.inf if until is None else float(until)
    if seconds <= time.time():
        raise InputError(f"until: must lie ahead, got {until}")
    return Target(address, max_concurrent=max_concurrent, until=seconds, retry_failed=retry_failed, wait=wait)


def _launch(study: "StudyFile", target: "Target", call: _Call) -> int:
    """Run what is left; returns the exit code.

    Raises:
        KeyboardInterrupt: it was interrupted.
    """
    from orchestrator.launch.one_launch import launch

    stop = GuestStop(call.again)
    stop.bounded = target.until < math.inf
    try:
        with stop:
            code = launch(study, storage=call.storage, target=target, command=call.again, stop=stop)
    except (KeyboardInterrupt, Exception) as error:
        if not stop.requested:
            raise
        text = f"{stop.end_in_words}; nothing that finished is lost. Continue with:  {call.again}"
        raise KeyboardInterrupt(text) from (None if isinstance(error, KeyboardInterrupt) else error)
    finally:
        stop.close()
    if code in (130, 143):
        raise KeyboardInterrupt(f"{stop.end_in_words}. Continue with:  {call.again}")
    return code
