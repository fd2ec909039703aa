"""What becomes of a trial whose GPU had no memory left: alone on one, then recomputing, then failed. Pure.

Each rung gives exactly the trial that the study asks for, continued from its last checkpoint: no setting is changed
that decides what is compared. Memory that others took sends no trial up; it tries again, as after a lost worker.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.store.trial_record import Rung, Setback
from trainable.configfile.node import JsonObject


@dataclass(frozen=True)
class Again:
    """The trial runs once more, on this rung."""

    rung: Rung


@dataclass(frozen=True)
class Fallen:
    """Nothing is left to try."""

    because: str
    """What was tried, in words."""


def after(
    setback: Setback, by_others: int, retries: int, *, may_recompute: bool, largest: int | None = None
) -> Again | Fallen:
    """What follows a setback.

    Args:
        setback: The latest one.
        by_others: Those of the launch, this one included, that others caused.
        retries: How many of these may be.
        may_recompute: Whether the trial allows its activations to be computed again (``train.memory: exact``).
        largest: Bytes of the largest GPU there is, where that is known: a whole smaller one is not the last resort.
    """
    if setback.by_others:
        return Again(setback.rung) if by_others <= retries else Fallen(f"others held its memory {by_others} times")
    match setback.rung:
        case "shared" if setback.gpu < 1 or (setback.total or 0) < (largest or 0):
            return Again("alone")
        case "shared" | "alone" if may_recompute:
            return Again("recompute")
        case "recompute":
            return Fallen("alone on a GPU, and its activations computed again")
        case _:
            return Fallen("alone on a GPU")


def first_rung(setbacks: Sequence[Setback], *, may_recompute: bool) -> Rung:
    """Where a launch begins with a trial that earlier ones did not finish: the last rung is tried once more."""
    own = [setback for setback in setbacks if not setback.by_others]
    if not own:
        return "shared"
    following = after(own[-1], 0, 0, may_recompute=may_recompute)
    return following.rung if isinstance(following, Again) else own[-1].rung


def may_recompute(config: JsonObject) -> bool:
    """Whether a trial's configuration allows it."""
    train = config.get("train")
    return isinstance(train, dict) and train.get("memory") == "exact"
