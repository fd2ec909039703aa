"""A trial as planned and as known: plan, epochs, state, checkpoint."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, JsonValue, TypeAdapter, ValidationInfo

from orchestrator.store.epoch_metrics import compact, compact_epoch
from orchestrator.store.shapes import Number, Whole
from orchestrator.studyfile import Objective
from trainable.configfile.node import JsonObject, Scalar
from trainable.evaluate.metrics.best_epoch import BestEpoch

Kind = Literal["search", "reference", "imported", "confirm", "ablation", "prefix"]
_REFERENCE = "reference-"


def reference_key(preset: str) -> str:
    """Key of the reference trial of a preset."""
    return f"{_REFERENCE}{preset}"


def reference_name(key: str) -> str:
    """A reference trial by its preset: ``plain`` of ``reference-plain``; another trial by its key."""
    return key.removeprefix(_REFERENCE)


Rung = Literal["shared", "alone", "recompute"]
"""How a trial uses a GPU: as the study says, alone on one, or alone with activations computed again."""


@dataclass(frozen=True)
class Setback:
    """An attempt at a trial that the memory of its GPU ended; what could not be measured is None. All in bytes."""

    attempt: Whole
    rung: Rung
    gpu: float
    """The attempt's share of GPUs."""
    where: str
    """The step at which memory ran out."""
    peak: Whole | None = None
    """What the process would have held with what it asked for."""
    cap: Whole | None = None
    """What it was allowed."""
    free: Whole | None = None
    """What nobody held."""
    total: Whole | None = None
    """What the GPU has."""
    by_others: bool = False
    """Whether others held what was the trial's own: not its fault."""

    def __str__(self) -> str:
        how = {"shared": f"gpu: {self.gpu:g}", "alone": "alone on a GPU", "recompute": "alone, activations recomputed"}
        known = {"peak": self.peak, "cap": self.cap, "free": self.free, "total": self.total}
        parts = [f"{name} {value / 2**30:.2f}" for name, value in known.items() if value is not None]
        measured = f" ({', '.join(parts)} GiB)" if parts else ""
        whose = ", taken by others" if self.by_others else ""
        return f"attempt {self.attempt}, {how[self.rung]}: out of GPU memory{whose}, {self.where}{measured}"


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
    kind: Kind
    number: Whole
    """Position within its kind, from 0; a search trial's seed and its sampler's derive from it."""
    config: JsonObject
    """The full TrialConfig."""
    picks: dict[str, Scalar] | None
    """What was picked for each domain; None for a reference that lies outside the search space."""
    system_attrs: Mapping[str, JsonValue] = field(default_factory=dict)
    """Optuna's own notes on the trial, without which samplers and pruners decide differently."""
    arm: str | None = None
    """Of a comparison (``orchestrator.store.stage_plan``): which arm it is a run of."""
    block: Whole | None = None
    """Of a comparison: position of its seed; runs of one block are paired."""
    prefix: str | None = None
    """Key of the prefix (``orchestrator.plan.prefixes``) whose epochs the trial begins with."""
    inherited: Whole = 0
    """Epochs that it takes over from there."""
    starts: tuple[Whole, ...] = ()
    """Of a prefix: the epochs, in order, after which heirs begin; their checkpoints stay, and the last one ends it."""

    @property
    def epochs(self) -> int:
        """Epochs of the trial when nothing stops it."""
        if self.starts:
            return self.starts[-1]
        train = self.config["train"]
        assert isinstance(train, dict)
        return int(str(train["epochs"]))

    @property
    def batch_size(self) -> int:
        """Images of a training step."""
        train = self.config["train"]
        assert isinstance(train, dict)
        return int(str(train.get("batch_size", 1)))

    @property
    def data(self) -> JsonObject:
        """The trial's data section."""
        data = self.config["data"]
        assert isinstance(data, dict)
        return data


@dataclass(frozen=True)
class Record:
    """A trial as known: the plan, its epochs so far and its state."""

    planned: Planned
    epochs: tuple[Mapping[str, float], ...] = ()
    """Metrics by their names, one mapping per epoch in order; the first is epoch 1."""
    state: State = State.RUNNING
    reason: str | None = None
    """Why it failed, was pruned or interrupted, in one line."""
    setbacks: tuple[Setback, ...] = ()
    """Attempts that a GPU's memory ended, in order."""

    @property
    def key(self) -> str:
        """The trial's key."""
        return self.planned.key

    @property
    def remark(self) -> str:
        """What is worth a line: why it ended, else how often its GPU had no memory, and when last."""
        if self.reason or not self.setbacks:
            return self.reason or ""
        times = f"{len(self.setbacks)} times, last: " if len(self.setbacks) > 1 else ""
        return f"{times}{self.setbacks[-1]}"

    @property
    def whole(self) -> bool:
        """Whether every epoch is there."""
        return len(self.epochs) >= self.planned.epochs

    def last(self, metric: str) -> float | None:
        """The last epoch's value: the objective (the best epoch would be biased upwards)."""
        return self.epochs[-1].get(metric) if self.epochs else None

    def best_epoch(self, objective: Objective) -> BestEpoch | None:
        """The best of all epochs, to be shown and not to decide; None where no epoch has a value."""
        return BestEpoch.of((epoch.get(objective.metric) for epoch in self.epochs), greater=objective.mode == "max")

    def best_value(self, objective: Objective) -> float | None:
        """The best epoch's value."""
        best = self.best_epoch(objective)
        return None if best is None else best.value

    def has(self, metric: str) -> bool:
        """Whether the last epoch has a value that can be compared."""
        value = self.last(metric)
        return value is not None and math.isfinite(value)

    def ended(self, state: State, reason: str | None = None) -> Self:
        """The same trial with a verdict."""
        return replace(self, state=state, reason=reason)

    def with_epoch(self, epoch: int, metrics: Mapping[str, float]) -> Self:
        """The same trial with the metrics of ``epoch`` (from 1); a repeated epoch replaces what was known of it."""
        return replace(self, epochs=(*self.epochs[: epoch - 1], compact_epoch(metrics)))


def _checked(planned: Planned, info: ValidationInfo) -> Planned:
    """Refuse the plan of another trial, and a configuration without what every trial has."""
    if info.context is not None and planned.key != info.context:
        raise ValueError(f"it is of the trial {planned.key}")
    train, data = planned.config.get("train"), planned.config.get("data")
    if not isinstance(train, dict) or not isinstance(epochs := train.get("epochs"), int) or not 0 < epochs < 2**31:
        raise ValueError("config.train.epochs: no number of epochs")
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        raise ValueError("config.data.name: no name of a data set")
    if not isinstance(seed := planned.config.get("seed"), int) or abs(seed) >= 2**63:
        raise ValueError("config.seed: no seed")
    starts = planned.starts
    if (planned.kind == "prefix") != bool(starts) or (starts and not 0 < starts[0] <= starts[-1] < epochs):
        raise ValueError("starts: no epochs of a prefix")
    if not 0 <= planned.inherited < epochs or (planned.inherited > 0) != (planned.prefix is not None):
        raise ValueError("inherited: no epochs of a prefix")
    return planned


Plan = Annotated[Planned, AfterValidator(_checked)]
"""A trial as its files hold it."""
Epochs = tuple[dict[str, Number], ...]


@dataclass(frozen=True)
class Verdict:
    """``verdict.json``: how a trial ended, or stood when its launch was stopped."""

    plan: Plan
    epochs: Epochs
    state: State
    reason: str | None = None
    setbacks: tuple[Setback, ...] = ()

    @property
    def record(self) -> Record:
        """The trial as its verdict tells it."""
        return Record(self.plan, compact(self.epochs), self.state, self.reason, self.setbacks)


def _with_epochs(verdict: Verdict) -> Verdict:
    if verdict.state is State.COMPLETE and not verdict.epochs:
        raise ValueError("complete without an epoch")
    return verdict


@dataclass(frozen=True)
class _CheckpointHeader:
    plan: Plan
    epochs: Epochs


PLAN: TypeAdapter[Planned] = TypeAdapter(Plan)
EPOCHS: TypeAdapter[Epochs] = TypeAdapter(Epochs)
VERDICT: TypeAdapter[Verdict] = TypeAdapter(Annotated[Verdict, AfterValidator(_with_epochs)])
CLAIM: TypeAdapter[JsonObject] = TypeAdapter(JsonObject)
SETBACK: TypeAdapter[Setback] = TypeAdapter(Setback)
_HEADER = TypeAdapter(_CheckpointHeader)


@dataclass(frozen=True)
class Checkpoint:
    """A trial after an epoch."""

    planned: Planned
    epochs: tuple[Mapping[str, float], ...]
    """Metrics of every epoch so far."""
    state: bytes
    """What the trial continues from."""

    def parts(self) -> tuple[bytes, ...]:
        """One object in parts, as the state may be large: length of the header, header, state."""
        header = json.dumps({"plan": asdict(self.planned), "epochs": list(map(dict, self.epochs))}).encode()
        return len(header).to_bytes(8, "big"), header, self.state

    @classmethod
    def from_bytes(cls, content: bytes, key: str | None = None) -> Self:
        """The checkpoint of these ``parts``, of the trial of that key; raises ValueError for what is none."""
        end = 8 + int.from_bytes(content[:8], "big")
        header = _HEADER.validate_json(content[8:end], context=key)
        return cls(header.plan, header.epochs, content[end:])
