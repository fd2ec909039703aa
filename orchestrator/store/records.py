"""The memory of a study: a folder per trial, on any filesystem that pyarrow.fs opens; ``layout`` names the files."""

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from pydantic import JsonValue, TypeAdapter, ValidationError

from orchestrator.errors import InputError
from orchestrator.store import layout
from orchestrator.store.addresses import join, redacted, storage_address, storage_errors
from orchestrator.store.epoch_metrics import compact
from orchestrator.store.kept_study import KeptStudy
from orchestrator.store.layout import CheckpointName, TrialFiles
from orchestrator.store.objects import DamagedError, Objects
from orchestrator.store.shapes import read_shaped, unlike
from orchestrator.store.trial_record import (
    CLAIM,
    EPOCHS,
    PLAN,
    SETBACK,
    VERDICT,
    Checkpoint,
    Planned,
    Record,
    Setback,
    State,
)
from trainable.configfile.node import JsonObject

T = TypeVar("T")
MOST_LISTED = 50
"""Entries of the folder of studies among which a mistyped name is looked for."""


@dataclass(frozen=True)
class Claimed:
    """An attempt at a trial that a worker has begun."""

    number: int
    """From 1."""
    earlier: Sequence[JsonObject]
    """Claims of the attempts before it, the first one first."""
    names: Sequence[str]
    """Files of the trial that were there before it."""


class Store:
    """The directory of one study. Paths given to workers are absolute, so any node that sees the storage can write.

    Damaged files are never believed and never the end of a study: ``warnings`` names them.
    """

    def __init__(self, root: str, study: str) -> None:
        self.storage = storage_address(root)
        self.study = study
        self.uri = join(self.storage, study)
        self.objects = Objects(self.uri)
        self.warnings: list[str] = []
        """One line for each damaged file that was met, and what is done about it."""

    def obstacle(self) -> str | None:
        """Why a local directory cannot be written, or None."""
        if "://" in self.storage:
            return None
        folder = self.uri
        while not os.path.exists(folder):
            folder = os.path.dirname(folder)
        if not os.path.isdir(folder):
            return f"{folder} is not a folder"
        return None if os.access(folder, os.W_OK | os.X_OK) else f"{folder} cannot be written to"

    @property
    def address(self) -> str:
        """Where the study lies, for messages; no secret is in it."""
        return redacted(self.uri)

    def path(self, name: str) -> str:
        """Address of a file of the study."""
        return self.objects.address(name)

    def read_study(self) -> KeptStudy | None:
        """What the study was last launched with, or None for a new study; raises as ``KeptStudy.read``."""
        return KeptStudy.read(self.objects)

    def launched_study(self) -> KeptStudy:
        """Read the same of a study that must be there; raises InputError too where it is not."""
        kept = self.read_study()
        if kept is None:
            names = ", ".join(self.studies_beside())
            message = "no study there; --storage names the folder of the studies"
            raise InputError(f"{self.address}: {message}{f', which holds {names}' if names else ''}")
        return kept

    def studies_beside(self) -> list[str]:
        """Names of the studies in the same storage, of its first entries."""
        beside = Objects(self.storage)
        return [name for name in beside.names("")[:MOST_LISTED] if beside.is_file(f"{name}/{layout.STUDY}")]

    def write_study(
        self,
        specification: JsonObject,
        data: Mapping[str, str] | None = None,
        from_env: Mapping[str, str] | None = None,
        rare_classes: Mapping[str, list[str]] | None = None,
        parts: Mapping[str, str] | None = None,
    ) -> None:
        """Keep the specification, data's fingerprints and rare classes, what names variables, hashes of own parts."""
        before = self.read_study() or KeptStudy(uuid.uuid4().hex, {})
        fingerprints, rare = {**before.data, **(data or {})}, {**before.rare_classes, **(rare_classes or {})}
        code = {**before.parts, **(parts or {})}
        KeptStudy(before.id, specification, fingerprints, dict(from_env or {}), rare, code).write(self.objects)

    def plan(self, planned: Planned) -> None:
        """Remember a trial before it starts, or starts again: it has no verdict then.

        Its first checkpoint holds the plan too, and before that there is nothing to lose.
        """
        files = TrialFiles(planned.key)
        self.objects.write_json(files.config, asdict(planned), flush=False)
        self.objects.delete(files.verdict)

    def claim(self, key: str, claim: JsonObject) -> Claimed:
        """Begin an attempt at a trial; what a worker had only begun to write when it was killed is removed."""
        files = TrialFiles(key)
        names = self.objects.files(files.folder)
        for name in names:
            if name.rpartition("/")[2].startswith("."):
                self.objects.delete(name)
        beside = [name.removeprefix(f"{files.folder}/") for name in names]
        attempts = layout.numbers(layout.ATTEMPT, beside)
        earlier = (self._believed(files.attempt(number), CLAIM, remedy="") for number in reversed(attempts))
        attempt = max(attempts, default=0) + 1
        self.objects.write_json(files.attempt(attempt), claim, flush=False)  # it counts workers of a launch that lives
        return Claimed(attempt, [claimed for claimed in earlier if claimed is not None], beside)

    def last_claim(self, key: str) -> JsonObject | None:
        """What the latest worker wrote down of itself when it began: host, process."""
        files = TrialFiles(key)
        attempts = layout.numbers(layout.ATTEMPT, self.objects.names(files.folder))
        return self._believed(files.attempt(attempts[0]), CLAIM, remedy="") if attempts else None

    def last_write(self, key: str) -> float | None:
        """When a file of a trial was last written, in seconds since 1970; None where it has none."""
        return max(self.objects.times(TrialFiles(key).folder), default=None)

    def write_epochs(self, key: str, attempt: int, epochs: Sequence[Mapping[str, float]]) -> None:
        """Keep a trial's metrics; called by the worker that runs it."""
        self.objects.write_json(TrialFiles(key).epochs(attempt), list(map(dict, epochs)))

    def write_checkpoint(self, name: CheckpointName, checkpoint: Checkpoint) -> None:
        """Keep a trial's state; called by the worker that runs it."""
        self.objects.write_sealed(f"{TrialFiles(checkpoint.planned.key).folder}/{name}", *checkpoint.parts())

    def was_pruned(self, key: str) -> bool:
        """Whether the driver has stopped a trial early."""
        verdict = self._believed(TrialFiles(key).verdict, VERDICT, key, remedy="")
        return verdict is not None and verdict.state is State.PRUNED

    def checkpoints(self, key: str) -> list[CheckpointName]:
        """Checkpoints of a trial, the latest first."""
        return layout.checkpoints(self.objects.names(TrialFiles(key).folder))

    def read_checkpoint(self, key: str, name: CheckpointName) -> Checkpoint | None:
        """A checkpoint; None where it is gone or damaged, which ``warnings`` then says."""
        file = f"{TrialFiles(key).folder}/{name}"
        try:
            content = self.objects.read_sealed(file)
            return Checkpoint.from_bytes(content, key) if content is not None else None
        except ValidationError as error:
            problem = f"{self.path(file)}: {unlike(error)}"
        except DamagedError as error:
            problem = str(error)
        self.warnings.append(f"{problem}; the one before it is used")
        return None

    def drop_checkpoints(self, key: str, keep: Sequence[CheckpointName] = ()) -> None:
        """Remove a trial's checkpoints but those to keep."""
        for name in self.checkpoints(key):
            if name not in keep:
                self.drop_checkpoint(key, name)

    def drop_checkpoint(self, key: str, name: CheckpointName) -> None:
        """Remove a checkpoint of a trial."""
        self.objects.delete(f"{TrialFiles(key).folder}/{name}")

    def kept_starts(self, planned: Planned) -> list[CheckpointName]:
        """Checkpoints of a prefix from which its heirs begin."""
        names = self.checkpoints(planned.key) if planned.starts else []
        return [name for name in names if name.epoch in planned.starts]

    def read_hung(self, key: str, launch: str) -> str | None:
        """Why a worker of a launch ended itself; None where none did."""
        reason = self.objects.read(TrialFiles(key).hung(launch))
        return None if reason is None else reason.decode(errors="replace")

    def write_setback(self, key: str, setback: Setback) -> None:
        """Keep why the memory of a GPU ended an attempt; called by its worker."""
        self.objects.write_json(TrialFiles(key).out_of_memory(setback.attempt), asdict(setback))

    def _setbacks(self, key: str) -> tuple[Setback, ...]:
        files = TrialFiles(key)
        numbers = sorted(layout.numbers(layout.OUT_OF_MEMORY, self.objects.names(files.folder)))
        kept = (self._believed(files.out_of_memory(number), SETBACK, remedy="") for number in numbers)
        return tuple(setback for setback in kept if setback is not None)

    def texts(self, record: Record) -> dict[str, str]:
        """Logs of a trial, and the traceback of one that failed, by the names of their files."""
        files = TrialFiles(record.key)
        names = [files.log(n) for n in layout.numbers(layout.LOG, self.objects.names(files.folder))]
        if record.state is State.FAILED:  # a trial that ran again and ended well may still have its first failure's
            names.append(files.traceback)
        contents = {name.removeprefix(f"{files.folder}/"): self.objects.read(name) for name in names}
        return {name: text.decode(errors="replace") for name, text in contents.items() if text is not None}

    def judge(self, record: Record, system_attrs: Mapping[str, JsonValue]) -> None:
        """Write a trial's verdict."""
        plan = asdict(replace(record.planned, system_attrs=system_attrs))
        epochs = list(map(dict, record.epochs))
        verdict = {"plan": plan, "epochs": epochs, "state": record.state, "reason": record.reason}
        if record.setbacks:
            verdict["setbacks"] = [asdict(setback) for setback in record.setbacks]
        self.objects.write_json(TrialFiles(record.key).verdict, verdict)

    def records(self) -> list[Record]:
        """All trials known: imported ones, references, then the search, each in the order of its numbers."""
        records = [record for key in self.objects.names(layout.TRIALS) if (record := self.record(key)) is not None]
        return sorted(records, key=lambda record: (record.planned.kind, record.planned.number))

    def record(self, key: str) -> Record | None:
        """One trial as its directory tells it; None where nothing tells what was planned."""
        files = TrialFiles(key)
        verdict = self._believed(files.verdict, VERDICT, key)
        if verdict is not None and verdict.state.final:
            return verdict.record
        plan = self._believed(files.config, PLAN, key)
        epochs_kept = self._epochs(key)
        planned = verdict.plan if verdict else plan  # the verdict's holds what the driver has judged since
        if planned is None or epochs_kept is None:
            checkpoint = next(filter(None, (self.read_checkpoint(key, name) for name in self.checkpoints(key))), None)
            planned = planned or (checkpoint.planned if checkpoint else None)
            epochs_kept = epochs_kept if epochs_kept is not None else (checkpoint.epochs if checkpoint else ())
        if planned is None:
            if self.objects.names(files.folder) and any(files.folder in warning for warning in self.warnings):
                self.warnings.append(
                    f"{self.path(files.folder)}: nothing tells what was planned; the trial begins anew"
                )
            return None
        state = verdict.state if verdict else State.RUNNING
        return Record(planned, compact(epochs_kept), state, verdict.reason if verdict else None, self._setbacks(key))

    def write_text(self, name: str, text: str) -> None:
        """Replace a text file of the study as a whole."""
        self.write_bytes(name, text.encode())

    def write_log(self, key: str, attempt: int, text: str) -> None:
        """Keep what a worker printed; nothing depends on it."""
        self.objects.write(TrialFiles(key).log(attempt), text.encode(), flush=False)

    def write_bytes(self, name: str, content: bytes) -> None:
        """Replace a file of the study as a whole; folders are made as needed."""
        self.objects.write(name, content)

    def _epochs(self, key: str) -> tuple[Mapping[str, float], ...] | None:
        """What the latest worker that got to an epoch kept; None where that is damaged or there is nothing."""
        files = TrialFiles(key)
        for number in layout.numbers(layout.EPOCHS, self.objects.names(files.folder)):
            kept = self._believed(files.epochs(number), EPOCHS)
            if kept is not None:
                return kept
        return None

    def _believed(
        self,
        name: str,
        shape: TypeAdapter[T],
        key: str | None = None,
        remedy: str = "the trial's other files are used",
    ) -> T | None:
        """Value of a JSON object; None where there is none, or it is damaged or of another shape."""
        try:
            return read_shaped(self.objects, name, shape, key)
        except DamagedError as error:
            self.warnings.append(f"{error}; {remedy}" if remedy else str(error))
            return None


def open_study(storage: str, name: str) -> tuple[Store, KeptStudy]:
    """The directory of a study that was launched, and what it says the study is.

    Raises:
        InputError: there is no such study, it is damaged or of a newer version, or the storage cannot be used.
    """
    with storage_errors(f"--storage {storage}"):
        store = Store(storage, name)
        return store, store.launched_study()
