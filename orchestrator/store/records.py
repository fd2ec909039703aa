"""The memory of a study: one directory per trial, on any filesystem that pyarrow.fs opens.

::

    <storage>/<study>/study.json                        what the study is (its id and resolved specification)
    <storage>/<study>/trials/<key>/config.json          the trial as planned                 (driver, once)
    <storage>/<study>/trials/<key>/attempt-<n>.json     who works on it                      (worker n, once)
    <storage>/<study>/trials/<key>/epochs-<n>.json      every epoch's metrics                (worker n, each epoch)
    <storage>/<study>/trials/<key>/checkpoint-<n>-<epoch>.bin    state after an epoch        (worker n, each epoch)
    <storage>/<study>/trials/<key>/artifacts/           pictures, confusion matrix            (worker)
    <storage>/<study>/trials/<key>/verdict.json         plan, epochs and how it ended        (driver, once)

Two writers, two sets of files: a worker never touches the verdict, the driver never what workers write. Each worker has
a number of its own, so one that was thought dead and writes again disturbs nobody: the highest number counts. Every
object is written whole and believed by its checksum; a finished trial needs its verdict alone.
"""

import os
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from pydantic import JsonValue

from orchestrator.errors import InputError
from orchestrator.store.addresses import absolute, join, redacted
from orchestrator.store.artifacts import FOLDER as ARTIFACTS
from orchestrator.store.objects import DamagedError, Objects
from orchestrator.store.trial_record import Checkpoint, CheckpointName, Planned, Record, State
from trainable.configfile.node import JsonObject

ATTEMPT = re.compile(r"attempt-(\d+)\.json")
CHECKPOINT = re.compile(r"checkpoint-(\d+)-(\d+)\.bin")


class Store:
    """The directory of one study. Paths given to workers are absolute, so any node that sees the storage can write.

    Damaged files are never believed and never the end of a study: ``warnings`` names them.
    """

    def __init__(self, root: str, study: str) -> None:
        self.storage = absolute(root)
        self.study = study
        self.uri = join(self.storage, study)
        self.objects = Objects(self.uri)
        self.warnings: list[str] = []
        """One line for each damaged file that was met, and what is done about it."""

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

    @property
    def address(self) -> str:
        """Where the study lies, for messages; no secret is in it."""
        return redacted(self.uri)

    def path(self, name: str) -> str:
        """Address of a file of the study."""
        return self.objects.address(name)

    def read_study(self) -> JsonObject | None:
        """The specification the study was last launched with, or None for a new study."""
        kept = self._study()
        return kept["specification"] if kept else None

    def study_id(self) -> str | None:
        """The id the study was given at its first launch, or None for a new study."""
        kept = self._study()
        return str(kept["id"]) if kept else None

    def read_data(self) -> dict[str, str]:
        """Fingerprint of each data set the study was launched with, by its section."""
        kept = self._study()
        return dict(kept["data"]) if kept else {}

    def read_rare_classes(self) -> dict[str, list[str]]:
        """Names of the rare classes of each data set, by its section; empty where no launch has kept them."""
        kept = self._study()
        return dict(kept.get("rare_classes", {})) if kept else {}

    def read_from_env(self) -> dict[str, str]:
        """Settings of trials that came from environment variables, as written, by dotted path."""
        kept = self._study()
        return dict(kept.get("from_env", {})) if kept else {}

    def write_study(
        self,
        specification: JsonObject,
        data: Mapping[str, str] | None = None,
        from_env: Mapping[str, str] | None = None,
        rare_classes: Mapping[str, Sequence[str]] | None = None,
    ) -> str:
        """Keep the specification, the data's fingerprints and rare classes, and what names environment variables.

        Returns:
            The id, which the first launch gave the study.
        """
        study_id = self.study_id() or uuid.uuid4().hex
        content = {"id": study_id, "specification": specification, "data": {**self.read_data(), **(data or {})}}
        content["from_env"] = dict(from_env or {})
        content["rare_classes"] = {**self.read_rare_classes(), **(rare_classes or {})}
        self.objects.write_json("study.json", content)
        return study_id

    def plan(self, planned: Planned) -> None:
        """Remember a trial before it starts, or starts again: it has no verdict then."""
        self.objects.write_json(f"trials/{planned.key}/config.json", asdict(planned))
        self.objects.delete(f"trials/{planned.key}/verdict.json")

    def claim(self, key: str, claim: JsonObject) -> tuple[int, list[JsonObject]]:
        """Begin an attempt at a trial; returns its number, from 1, and the claims of earlier ones.

        What a worker had only begun to write when it was killed is removed.
        """
        there = self.objects.names(f"trials/{key}")
        inner = self.objects.names(f"trials/{key}/{ARTIFACTS}") if ARTIFACTS in there else []
        for name in (*there, *(f"{ARTIFACTS}/{name}" for name in inner)):
            if name.rpartition("/")[2].startswith("."):
                self.objects.delete(f"trials/{key}/{name}")
        names = [name for name in there if ATTEMPT.fullmatch(name)]
        earlier = [claimed for name in names if (claimed := self._believed(f"trials/{key}/{name}", "")) is not None]
        attempt = max((int(name[8:-5]) for name in names), default=0) + 1
        self.objects.write_json(f"trials/{key}/attempt-{attempt}.json", claim)
        return attempt, earlier

    def last_claim(self, key: str) -> JsonObject | None:
        """What the latest worker wrote down of itself when it began: host, process."""
        numbers = [int(m[1]) for name in self.objects.names(f"trials/{key}") if (m := ATTEMPT.fullmatch(name))]
        return self._believed(f"trials/{key}/attempt-{max(numbers)}.json", "") if numbers else None

    def write_epochs(self, key: str, attempt: int, epochs: Sequence[Mapping[str, float]]) -> None:
        """Keep a trial's metrics; called by the worker that runs it."""
        self.objects.write_json(f"trials/{key}/epochs-{attempt}.json", list(epochs))

    def write_checkpoint(self, name: CheckpointName, checkpoint: Checkpoint) -> None:
        """Keep a trial's state; called by the worker that runs it."""
        self.objects.write_sealed(f"trials/{checkpoint.planned.key}/{name}", checkpoint.to_bytes())

    def was_pruned(self, key: str) -> bool:
        """Whether the driver has stopped a trial early."""
        verdict = self._believed(f"trials/{key}/verdict.json", "")
        return verdict is not None and verdict["state"] == State.PRUNED

    def has_epochs(self, key: str) -> bool:
        """Whether any worker got to the end of an epoch."""
        return any(name.startswith("epochs-") for name in self.objects.names(f"trials/{key}"))

    def checkpoints(self, key: str) -> list[CheckpointName]:
        """Checkpoints of a trial, the latest first."""
        matches = (CHECKPOINT.fullmatch(name) for name in self.objects.names(f"trials/{key}"))
        return sorted((CheckpointName(int(m[1]), int(m[2])) for m in matches if m), reverse=True)

    def read_checkpoint(self, key: str, name: CheckpointName) -> Checkpoint | None:
        """A checkpoint; None where it is gone or damaged, which ``warnings`` then says."""
        try:
            content = self.objects.read_sealed(f"trials/{key}/{name}")
        except DamagedError as error:
            self.warnings.append(f"{error}; the one before it is used")
            return None
        return Checkpoint.from_bytes(content) if content is not None else None

    def drop_checkpoints(self, key: str, keep: Sequence[CheckpointName] = ()) -> None:
        """Remove a trial's checkpoints but those to keep."""
        for name in self.checkpoints(key):
            if name not in keep:
                self.objects.delete(f"trials/{key}/{name}")

    def write_traceback(self, key: str, text: str) -> None:
        """Keep the traceback of a trial that failed by itself; called by the worker."""
        self.write_text(f"trials/{key}/traceback.txt", text)

    def judge(self, record: Record, system_attrs: Mapping[str, JsonValue]) -> None:
        """Write a trial's verdict."""
        plan = asdict(replace(record.planned, system_attrs=system_attrs))
        verdict = {"plan": plan, "epochs": list(record.epochs), "state": record.state, "reason": record.reason}
        self.objects.write_json(f"trials/{record.key}/verdict.json", verdict)

    def records(self) -> list[Record]:
        """All trials known: imported ones, references, then the search, each in the order of its numbers."""
        found = [record for key in self.objects.names("trials") if (record := self.record(key)) is not None]
        return sorted(found, key=lambda record: (record.planned.kind, record.planned.number))

    def record(self, key: str) -> Record | None:
        """One trial as its directory tells it; None where nothing tells what was planned."""
        folder = f"trials/{key}"
        verdict = self._believed(f"{folder}/verdict.json", "the trial's other files are used")
        if verdict is not None and State(verdict["state"]).final:
            epochs = tuple(verdict["epochs"])
            return Record(Planned(**verdict["plan"]), epochs, State(verdict["state"]), verdict["reason"])
        plan = self._believed(f"{folder}/config.json", "the trial's other files are used")
        epochs_kept = self._epochs(key)
        latest = verdict["plan"] if verdict else plan  # the verdict's holds what the driver has judged since
        planned = Planned(**latest) if latest else None
        if planned is None or epochs_kept is None:
            held = next(filter(None, (self.read_checkpoint(key, name) for name in self.checkpoints(key))), None)
            planned = planned or (held.planned if held else None)
            epochs_kept = epochs_kept if epochs_kept is not None else (held.epochs if held else ())
        if planned is None:
            if self.objects.names(folder) and any(folder in warning for warning in self.warnings):
                self.warnings.append(f"{self.path(folder)}: nothing tells what was planned; the trial begins anew")
            return None
        state = State(verdict["state"]) if verdict else State.RUNNING
        return Record(planned, epochs_kept, state, verdict["reason"] if verdict else None)

    def write_text(self, name: str, text: str) -> None:
        """Replace a text file of the study as a whole."""
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Replace a file of the study as a whole; folders are made as needed."""
        self.objects.write(name, content)

    def _study(self) -> dict[str, Any] | None:
        try:
            kept: dict[str, Any] | None = self.objects.read_json("study.json")
        except DamagedError as error:
            raise InputError(
                f"{error}; the trials are not touched: restore it, or remove it to open new runs"
            ) from error
        return kept

    def _epochs(self, key: str) -> tuple[Mapping[str, float], ...] | None:
        """What the latest worker that got to an epoch kept; None where that is damaged or there is nothing."""
        names = [name for name in self.objects.names(f"trials/{key}") if re.fullmatch(r"epochs-\d+\.json", name)]
        for name in sorted(names, key=lambda name: int(name[7:-5]), reverse=True):
            kept = self._believed(f"trials/{key}/{name}", "the trial's other files are used")
            if kept is not None:
                return tuple(kept)
        return None

    def _believed(self, name: str, remedy: str) -> Any:
        """Value of a JSON object; None where there is none or it is damaged."""
        try:
            return self.objects.read_json(name)
        except DamagedError as error:
            self.warnings.append(f"{error}; {remedy}" if remedy else str(error))
            return None
