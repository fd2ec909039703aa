"""Which trials are the best: by the objective, on the Pareto front, by arm and block."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from orchestrator.store.stage_plan import StagePlan
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Objective

T = TypeVar("T")

SEEN = 1e-4
"""The last digit of a score that is shown: what does not reach it is no difference to a reader."""
PREFERRED = ("plain", "none")
"""References that train without suppression: what others are compared with."""


def rival(references: Iterable[str]) -> str | None:
    """The reference that others are compared with: one without suppression, else the first; None without any."""
    names = list(references)
    return next((name for name in PREFERRED if name in names), names[0] if names else None)


def best(records: Iterable[Record], objective: Objective) -> Record | None:
    """The complete trial of the search with the best last epoch; None where none is complete."""
    return max(_complete(records, [objective]), key=lambda record: _score(record, objective), default=None)


def ranked(records: Iterable[Record], objectives: Sequence[Objective]) -> list[Record]:
    """Complete trials of the search, the best first; of several objectives the Pareto front alone."""
    if len(objectives) > 1:
        return pareto_front(records, objectives)
    return sorted(_complete(records, objectives), key=lambda r: _score(r, objectives[0]), reverse=True)


def pareto_front(records: Iterable[Record], objectives: Sequence[Objective]) -> list[Record]:
    """Complete trials that no other beats in every objective, references aside, best first by the first objective."""
    candidates = _complete(records, objectives)
    return undominated(candidates, lambda record: [_score(record, objective) for objective in objectives])


def undominated(candidates: Iterable[T], scores_of: Callable[[T], Sequence[float]]) -> list[T]:
    """Select those that no other beats in every score (larger is better), best first by the first score."""
    scored = [(candidate, tuple(scores_of(candidate))) for candidate in candidates]
    every = {scores for _, scores in scored}
    front = [
        (candidate, own)
        for candidate, own in scored
        if not any(other != own and all(a >= b for a, b in zip(other, own, strict=True)) for other in every)
    ]
    return [candidate for candidate, _ in sorted(front, key=lambda pair: pair[1], reverse=True)]


def block_values(
    records: Iterable[Record], plan: StagePlan, value_of: Callable[[Record], float | None]
) -> dict[str, dict[int, float]]:
    """Values by arm and block, of complete runs that have one alone; every arm of the plan is there."""
    values: dict[str, dict[int, float]] = {arm.name: {} for arm in plan.arms}
    for record in records:
        value, planned = value_of(record), record.planned
        counts = planned.kind == plan.stage and planned.arm in values and record.state is State.COMPLETE
        if counts and value is not None and planned.arm is not None and planned.block is not None:
            values[planned.arm][planned.block] = value
    return values


def _complete(records: Iterable[Record], objectives: Sequence[Objective]) -> list[Record]:
    """Complete trials of the search that have every objective: neither references nor runs of a comparison."""
    complete = [r for r in records if r.state is State.COMPLETE and r.planned.kind in ("search", "imported")]
    return [r for r in complete if all(r.has(objective.metric) for objective in objectives)]


def _score(record: Record, objective: Objective) -> float:
    value = record.epochs[-1][objective.metric]
    return value if objective.mode == "max" else -value
