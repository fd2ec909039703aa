"""The memory of a study: one directory per trial, on any filesystem that pyarrow.fs opens.

::

    <storage>/<study>/study.json                   what the study is (its id and resolved specification)
    <storage>/<study>/trials/<key>/config.json     the trial as planned        (driver, once)
    <storage>/<study>/trials/<key>/epochs.json     every epoch's metrics       (worker, after each epoch)
    <storage>/<study>/trials/<key>/verdict.json    how it ended                (driver, once)

Two writers, two files: the worker never touches the verdict, the driver never the epochs. Each file is replaced as a
whole, so a reader sees the old or the new one and never half of one.
"""

import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal, Self

from pyarrow import fs as arrow_fs

from orchestrator.errors import InputError

JsonObject = dict[str, Any]


class State(StrEnum):
    """Where a trial stands; only ``complete``, ``pruned`` and ``failed`` are final."""

    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def final(self) -> bool:
        """Whether the trial is never run again."""
        return self in (State.COMPLETE, State.PRUNED, State.FAILED)


@dataclass(frozen=True)
class Planned:
    """A trial as planned: what the worker needs to run it and the planner to recognise it."""

    key: str
    """Name of its directory, stable over launches."""
    kind: Literal["search", "reference"]
    number: int
    """Position within its kind, from 0; a search trial's seed and its sampler's derive from it."""
    config: JsonObject
    """The full TrialConfig."""
    picks: JsonObject | None
    """What was picked for each domain; None for a reference that lies outside the search space."""
    system_attrs: JsonObject = field(default_factory=dict)
    """Optuna's own notes on the trial, without which samplers and pruners decide differently."""


@dataclass(frozen=True)
class Record:
    """A trial as known: the plan, its epochs so far and its state."""

    planned: Planned
    epochs: tuple[Mapping[str, float], ...] = ()
    """Metrics by their names, one mapping per epoch in order; the first is epoch 1."""
    state: State = State.RUNNING
    reason: str | None = None
    """Why it failed, was pruned or interrupted, in one line."""

    @property
    def key(self) -> str:
        """The trial's key."""
        return self.planned.key

    @property
    def whole(self) -> bool:
        """Whether every epoch is there."""
        return len(self.epochs) >= int(self.planned.config["train"]["epochs"])

    def last(self, metric: str) -> float | None:
        """The last epoch's value: the objective (the best epoch would be biased upwards)."""
        return self.epochs[-1].get(metric) if self.epochs else None

    def ended(self, state: State, reason: str | None = None) -> Self:
        """The same trial with a verdict."""
        return replace(self, state=state, reason=reason)

    def with_epoch(self, epoch: int, metrics: Mapping[str, float]) -> Self:
        """The same trial with the metrics of ``epoch`` (from 1); a repeated epoch replaces what was known of it."""
        return replace(self, epochs=(*self.epochs[: epoch - 1], dict(metrics)))


class Store:
    """The directory of one study. Paths given to workers are absolute, so any node that sees the storage can write."""

    def __init__(self, root: str, study: str) -> None:
        self.storage = absolute(root).rstrip("/")
        self.study = study
        self.uri = f"{self.storage}/{study}"
        filesystem, path = arrow_fs.FileSystem.from_uri(self.uri)
        self._fs: arrow_fs.FileSystem = filesystem
        self._root: str = path

    def obstacle(self) -> str | None:
        """Why a local directory cannot be written, or None."""
        if "://" in self.storage:
            return None
        place = self.uri
        while not os.path.exists(place):
            place = os.path.dirname(place)
        if not os.path.isdir(place):
            return f"{place} is not a folder"
        return None if os.access(place, os.W_OK | os.X_OK) else f"{place} cannot be written to"

    def path(self, name: str) -> str:
        """Address of a file of the study."""
        return f"{self.uri}/{name}"

    def read_study(self) -> JsonObject | None:
        """The specification the study was last launched with, or None for a new study."""
        kept: JsonObject | None = self._read("study.json")
        return kept["specification"] if kept else None

    def write_study(self, specification: JsonObject) -> str:
        """Keep the specification; returns the study's id, which it was given at its first launch."""
        kept = self._read("study.json")
        study_id = str(kept["id"] if kept else uuid.uuid4().hex)
        self._write("study.json", {"id": study_id, "specification": specification})
        return study_id

    def plan(self, planned: Planned) -> None:
        """Remember a trial before it starts."""
        self._write(f"trials/{planned.key}/config.json", asdict(planned))

    def write_epochs(self, key: str, epochs: Sequence[Mapping[str, float]]) -> None:
        """Keep a trial's metrics; called by the worker that runs it."""
        self._write(f"trials/{key}/epochs.json", list(epochs))

    def write_traceback(self, key: str, text: str) -> None:
        """Keep the traceback of a trial that failed by itself; called by the worker."""
        self.write_text(f"trials/{key}/traceback.txt", text)

    def judge(self, record: Record, system_attrs: JsonObject) -> None:
        """Write a trial's verdict."""
        verdict = {"state": record.state, "reason": record.reason, "system_attrs": system_attrs}
        self._write(f"trials/{record.key}/verdict.json", verdict)

    def records(self) -> list[Record]:
        """All trials known, references first, then the search in the order of its numbers."""
        selector = arrow_fs.FileSelector(f"{self._root}/trials", allow_not_found=True)
        keys = [info.base_name for info in self._fs.get_file_info(selector)]
        found = [record for key in keys if (record := self.record(key)) is not None]
        return sorted(found, key=lambda record: (record.planned.kind, record.planned.number))

    def record(self, key: str) -> Record | None:
        """One trial as its directory tells it; None where no plan was kept."""
        plan = self._read(f"trials/{key}/config.json")
        if plan is None:
            return None
        verdict = self._read(f"trials/{key}/verdict.json") or {"state": State.RUNNING, "reason": None}
        planned = Planned(**{**plan, "system_attrs": verdict.get("system_attrs", plan["system_attrs"])})
        epochs = tuple(self._read(f"trials/{key}/epochs.json") or ())
        record = Record(planned, epochs, State(verdict["state"]), verdict["reason"])
        if record.state is State.COMPLETE and not record.whole:
            raise InputError(
                f"{self.path(f'trials/{key}')}: complete, but epochs are missing; remove the folder to rerun it"
            )
        return record

    def write_text(self, name: str, text: str) -> None:
        """Replace a text file of the study as a whole."""
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Replace a file of the study as a whole; folders are made as needed."""
        target = f"{self._root}/{name}"
        self._fs.create_dir(os.path.dirname(target), recursive=True)
        partial = f"{target}.partial"
        with self._fs.open_output_stream(partial) as stream:
            stream.write(content)
        self._fs.move(partial, target)

    def _write(self, name: str, content: Any) -> None:
        self.write_text(name, json.dumps(content, indent=1))

    def _read(self, name: str) -> Any:
        try:
            with self._fs.open_input_stream(f"{self._root}/{name}") as stream:
                content = stream.read()
        except FileNotFoundError:
            return None
        try:
            return json.loads(content)
        except ValueError as error:
            raise InputError(f"{self.path(name)}: damaged, not JSON; remove its folder to begin anew") from error


def absolute(path: str) -> str:
    """A local path made absolute; an address with a scheme stays as it is."""
    return path if "://" in path else os.path.abspath(path)
