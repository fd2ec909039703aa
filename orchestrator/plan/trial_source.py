"""What hands out trials: the interface of the planners. What it does by itself is right where nothing is pruned."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Objective
from trainable.configfile.node import JsonObject


@dataclass(frozen=True)
class Need:
    """Trials that are of use together only, and what is left of them to train."""

    trials: int
    epochs: int
    """Of all of them, as if none had begun."""
    keys: tuple[str, ...] = ()
    """Of those that earlier launches may have begun."""


class TrialSource(Protocol):
    """Decides which trial runs next and which one stops early; ``test_trial_source_contract`` is what all keep to."""

    total: int
    """All trials, those that ended in earlier launches included."""
    objectives: Sequence[Objective]
    """Metrics without which a trial is failed."""

    @property
    def objective(self) -> Objective:
        """What trials are compared by; the first of several."""
        return self.objectives[0]

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to hand out."""

    def next(self) -> Planned | None:
        """The next trial, unfinished ones of earlier launches first; None when all have been handed out."""

    @property
    def need(self) -> Need:
        """What must be paid for before the next trial begins: that trial, or the block of a comparison it opens."""

    def withdraw(self, key: str) -> None:
        """Hand out a trial of an earlier launch no more."""

    def report(self, planned: Planned, epoch: int, metrics: Mapping[str, float]) -> bool:  # noqa: ARG002
        """Take an epoch that is not the trial's last; True means: stop the trial."""
        return False

    def verdict(self, record: Record) -> Record | None:
        """How a trial ended whose worker went on while nobody listened; None where it has to run further."""
        return record.ended(State.COMPLETE) if record.whole else None

    def notes(self, planned: Planned) -> JsonObject:  # noqa: ARG002
        """What a later launch needs to know of a trial that is not finished."""
        return {}

    def settle(self, record: Record) -> tuple[Record, JsonObject] | None:
        """Give a trial of an earlier launch the verdict that nobody gave it; None where it has to run further."""
        ended = self.verdict(record)
        if ended is None:
            return None
        self.withdraw(record.key)
        return self.finish(ended)

    def finish(self, record: Record) -> tuple[Record, JsonObject]:
        """Take how a trial ended.

        Returns:
            The record, ``failed`` instead of ``complete`` where an objective has no value in the last epoch, and what
            a later launch needs to know of the trial to decide alike.
        """
        judged = record.state is State.COMPLETE and record.planned.kind != "prefix"  # that is scored by its heirs
        for objective in self.objectives if judged else ():
            value = record.last(objective.metric)
            if value is None or not math.isfinite(value):
                reason = f"epoch {len(record.epochs)}: the objective {objective.metric} is undefined"
                return record.ended(State.FAILED, reason), {}
        return record, {}

    def better(self, record: Record, than: Record | None) -> bool:  # noqa: ARG002
        """Whether a trial beats another and keeps its checkpoint in place of that one."""
        return False


def stopped_early(record: Record) -> Record:
    """The record with the verdict of a trial that was stopped after its last epoch."""
    return record.ended(State.PRUNED, f"stopped early after epoch {len(record.epochs)}")
