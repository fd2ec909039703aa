"""What looks at a comparison decided, in lines: at each look of a launch, and for ``orchestrator.status``."""

from collections.abc import Mapping, Sequence

from orchestrator.store.looks import Decision, KeptLooks, TakenLook, decided, most_blocks
from orchestrator.store.objects import DamagedError, Objects
from orchestrator.store.stage_plan import Stage, StagePlan

MOST_NAMED = 12
"""Arms of a decision that are named in a line."""
_WORDS: Mapping[Decision, tuple[str, str]] = {
    "better": ("stops for success", "stop for success"),
    "worse": ("stops for harm", "stop for harm"),
    "futile": ("stops for futility", "stop for futility"),
    "on": ("goes on", "go on"),
    "not shown": ("is not shown to differ", "are not shown to differ"),
}


def look_line(look: TakenLook, looks: int) -> str:
    """What a look decided: ``look 2 of 4 after 8 seeds: A stops for success; B goes on``."""
    parts = []
    for decision, (one, several) in _WORDS.items():
        if names := look.names(decision):
            parts.append(f"{', '.join(names[:MOST_NAMED])}{_beyond(names)} {one if len(names) == 1 else several}")
    return f"look {look.number} of {looks} after {look.seeds} seeds: {'; '.join(parts)}"


def _beyond(names: Sequence[str]) -> str:
    return f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""


def kept_looks(objects: Objects, plans: Sequence[StagePlan], lines: list[str]) -> dict[Stage, tuple[TakenLook, ...]]:
    """The looks that were taken at each stage, as its plan now is; what is damaged is told in a line."""
    taken: dict[Stage, tuple[TakenLook, ...]] = {}
    for plan in plans:
        try:
            kept = KeptLooks.read(objects, plan.stage) if plan.looks else None
        except DamagedError as error:
            lines.append(f"warning: {error}; the next launch writes it anew")
            continue
        if kept is not None and kept.plan == plan.hash:
            taken[plan.stage] = kept.looks
    return taken


def looks_so_far(plan: StagePlan, taken: Sequence[TakenLook]) -> str | None:
    """How far the looks of a stage have come, in a line; None where it has none."""
    if plan.looks is None:
        return None
    ended = decided(taken)
    parts = []
    for decision in ("better", "worse", "futile", "not shown"):
        names = [f"{a} ({look.seeds})" for a, look in ended.items() if look.arms[a].decision == decision]
        if names:
            parts.append(f"{_DONE[decision]} after so many seeds: {', '.join(names[:MOST_NAMED])}{_beyond(names)}")
    others = [arm.name for arm in plan.arms if arm.name != plan.baseline and arm.name not in ended]
    if others:
        seeds = plan.looks.seeds[len(taken)]
        parts.append(f"in play to {seeds} seeds: {', '.join(others[:MOST_NAMED])}{_beyond(others)}")
    return f"{plan.stage}: {len(taken)} of {len(plan.looks.seeds)} looks taken; {'; '.join(parts)}"


_DONE: Mapping[Decision, str] = {
    "better": "stopped for success",
    "worse": "stopped for harm",
    "futile": "stopped for futility",
    "not shown": "not shown to differ",
}


def blocks_of(plan: StagePlan, taken: Mapping[Stage, Sequence[TakenLook]]) -> dict[str, int]:
    """On how many seeds each arm of a stage runs at most."""
    return most_blocks([a.name for a in plan.arms], plan.baseline, len(plan.seeds), taken.get(plan.stage, ()))
