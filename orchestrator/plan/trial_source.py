"""What hands out trials: the interface of the planners, and the verdicts that they share."""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Objective
from trainable.configfile.node import JsonObject


class TrialSource(Protocol):
    """Decides which trial runs next and which one stops early; ``test_trial_source_contract`` is what all keep to."""

    @property
    def total(self) -> int:
        """All trials, those that ended in earlier launches included."""

    @property
    def objective(self) -> Objective:
        """What trials are compared by; the first of several."""

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to hand out."""

    def next(self) -> Planned | None:
        """The next trial, unfinished ones of earlier launches first; None when all have been handed out."""

    def report(self, planned: Planned, epoch: int, metrics: Mapping[str, float], /) -> bool:
        """Take an epoch that is not the trial's last; True means: stop the trial."""

    def verdict(self, record: Record, /) -> Record | None:
        """How a trial ended whose worker went on while nobody listened; None where it has to run further."""

    def notes(self, planned: Planned, /) -> JsonObject:
        """What a later launch needs to know of a trial that is not finished."""

    def settle(self, record: Record, /) -> tuple[Record, JsonObject] | None:
        """Give a trial of an earlier launch the verdict that nobody gave it; None where it has to run further."""

    def finish(self, record: Record, /) -> tuple[Record, JsonObject]:
        """Take how a trial ended.

        Returns:
            The record, ``failed`` instead of ``complete`` where an objective has no value, and what a later launch
            needs to know of the trial to decide alike.
        """

    def better(self, record: Record, than: Record | None, /) -> bool:
        """Whether a complete trial, references aside, beats another and so keeps its checkpoint."""


def stopped_early(record: Record) -> Record:
    """The record with the verdict of a trial that was stopped after its last epoch."""
    return record.ended(State.PRUNED, f"stopped early after epoch {len(record.epochs)}")


def judged(record: Record, objectives: Sequence[Objective]) -> Record:
    """The record, ``failed`` instead of ``complete`` where an objective has no value in the last epoch."""
    if record.state is not State.COMPLETE:
        return record
    for objective in objectives:
        value = record.last(objective.metric)
        if value is None or not math.isfinite(value):
            reason = f"epoch {len(record.epochs)}: the objective {objective.metric} is undefined"
            return record.ended(State.FAILED, reason)
    return record
