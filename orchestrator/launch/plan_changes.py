"""Registered plans: what an earlier launch planned for a stage, and how the plan now differs."""

from collections.abc import Callable, Iterator

from orchestrator.store.objects import DamagedError, Objects
from orchestrator.store.stage_plan import Stage, StagePlan


def registered_plan(objects: Objects, stage: Stage, say: Callable[[str], None]) -> StagePlan | None:
    """The plan of a stage as it was kept; None where there is none, or it is damaged, which is said."""
    try:
        return StagePlan.read(objects, stage)
    except DamagedError as error:
        say(f"warning: {error}; it is written anew")
        return None


def described(plan: StagePlan) -> str:
    """A plan in a line."""
    names = ", ".join(arm.name for arm in plan.arms)
    return f"{plan.hash}: {plan.design}, {len(plan.arms)} arms ({names}) on {len(plan.seeds)} seeds"


def difference(before: StagePlan, now: StagePlan) -> str:
    """What a plan has changed in, in short."""
    return ", ".join(_changes(before, now)) or "factors and levels"


def _changes(before: StagePlan, now: StagePlan) -> Iterator[str]:
    if len(before.seeds) != len(now.seeds):
        yield f"{len(before.seeds)} seeds, now {len(now.seeds)}"
    if before.seeds[: len(now.seeds)] != now.seeds[: len(before.seeds)]:
        yield "other seeds"
    if before.looks != now.looks:
        yield f"{_looks(before)}, now {_looks(now)}"
    if before.design != now.design:
        yield f"{before.design}, now {now.design}"
    elif now.design != "path":  # its arms follow from the results
        old, new = [arm.name for arm in before.arms], [arm.name for arm in now.arms]
        yield from [f"+{name}" for name in new if name not in old] + [f"-{name}" for name in old if name not in new]
    if before.baseline != now.baseline:
        yield f"baseline {before.baseline}, now {now.baseline}"
    if before.target != now.target:
        yield "another target"
    if before.base != now.base:
        yield "the arms' configurations" if now.stage == "confirm" else "the baseline's configuration"
    if before.objective and before.objective != now.objective:
        yield "another objective"


def _looks(plan: StagePlan) -> str:
    if plan.looks is None:
        return "no looks"
    futility = "no futility" if plan.looks.futility is None else f"futility {plan.looks.futility:g}"
    return f"looks after {', '.join(map(str, plan.looks.seeds))} seeds ({plan.looks.spending}, {futility})"
