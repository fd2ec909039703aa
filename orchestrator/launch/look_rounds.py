"""Looks at the comparisons of a launch: which runs are due before the next one, and what those that are taken decide.

What a look decides follows from the records and from what the looks before it have used, so that a launch that was
killed between two looks, or within one, decides as it would have without.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import InputError
from orchestrator.launch.look_words import look_line
from orchestrator.launch.rounds import StageProgress
from orchestrator.store.looks import KeptLooks, Looks, TakenLook, most_blocks
from orchestrator.store.objects import DamagedError, Objects
from orchestrator.store.stage_plan import Stage, StagePlan
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Objective

if TYPE_CHECKING:
    from orchestrator.report.statistics.group_sequential import GroupSequential


@dataclass
class _Course:
    """The looks at a stage in this launch."""

    kept: KeptLooks | None
    """As they lie in the study's directory."""
    now: "GroupSequential | None" = None
    said: int = 0
    """Looks that have been told."""


class LookRounds:
    """The looks of a launch.

    Args:
        objects: The study's directory.
        objective: What arms are compared by.
        say: Tells the user.
    """

    def __init__(self, objects: Objects, objective: Objective, say: Callable[[str], None]) -> None:
        self._objects, self._objective, self._say = objects, objective, say
        self._courses: dict[Stage, _Course] = {}

    def check(self, stage: Stage, before: StagePlan | None, now: Looks | None, file: object) -> None:
        """Refuse looks that differ from the registered ones once a look was taken.

        Raises:
            InputError: they differ.
        """
        registered, kept = before.looks if before else None, self._course(stage).kept
        if registered is None or now is None or kept is None or not kept.looks or _same_boundaries(registered, now):
            return
        raise InputError(
            f"{file}: {stage}.seeds: the looks are {_described(now)}, and {len(kept.looks)} of the registered "
            f"{_described(registered)} have been taken: boundaries set after a look control no error. Write the "
            f"registered ones, a number of seeds ({now.seeds[-1]}: p is nominal then, and the report says so), or give "
            "this study another name (--set study=NAME)"
        )

    def due(self, progress: StageProgress, records: Mapping[str, Record]) -> Mapping[str, Planned]:
        """The runs of a stage that are to end by its next look; all of them where it has no looks."""
        from orchestrator.report.statistics.group_sequential import replay  # late: scipy takes a moment to import

        plan = progress.plan
        if plan.looks is None:
            return progress.runs
        course, outcome = self._course(plan.stage), self._outcomes(progress, records)
        arms = [arm.name for arm in plan.arms if arm.name != plan.baseline]
        kept = course.kept.looks if course.kept and course.kept.plan == plan.hash else ()
        greater = self._objective.mode == "max"
        taken = course.now.taken if course.now and course.now.taken else kept
        course.now = replay(plan.looks, arms, plan.baseline, outcome, greater_is_better=greater, kept=taken)
        self._tell(course, plan, kept, outcome)
        blocks = {arm: course.now.blocks(arm) for arm in arms}
        blocks[plan.baseline] = max(blocks.values(), default=0)
        return {key: run for key, run in progress.runs.items() if (run.block or 0) < blocks[str(run.arm)]}

    def title(self, plan: StagePlan) -> str:
        """What runs before the next look, in short."""
        course = self._courses.get(plan.stage)
        if course is None or course.now is None or plan.looks is None:
            return f"{plan.stage}: {len(plan.arms)} arms x {len(plan.seeds)} seeds"
        number, looks = len(course.now.taken) + 1, plan.looks.seeds
        if course.now.over:  # runs that failed before are run again
            return f"{plan.stage}: no look is left"
        in_play = f"{len(course.now.in_play)} of {len(plan.arms) - 1} arms in play beside {plan.baseline}"
        return f"{plan.stage}: to look {number} of {len(looks)} after {looks[number - 1]} seeds, {in_play}"

    def spared(self, progress: StageProgress) -> int:
        """Runs of a stage that will not run, as their arms have stopped."""
        plan, course = progress.plan, self._courses.get(progress.plan.stage)
        if course is None or course.now is None:
            return 0
        names = [arm.name for arm in plan.arms]
        return len(progress.runs) - sum(most_blocks(names, plan.baseline, len(plan.seeds), course.now.taken).values())

    def register(self, plan: StagePlan) -> None:
        """Keep the looks that were taken."""
        course = self._courses.get(plan.stage)
        if course is None or course.now is None or not course.now.taken:
            return
        now = KeptLooks(plan.hash, tuple(course.now.taken))
        if now != course.kept:
            now.write(self._objects, plan.stage)
            course.kept = now

    def _course(self, stage: Stage) -> _Course:
        if stage not in self._courses:
            self._courses[stage] = _Course(self._read(stage))
        return self._courses[stage]

    def _read(self, stage: Stage) -> KeptLooks | None:
        try:
            return KeptLooks.read(self._objects, stage)
        except DamagedError as error:
            self._say(f"warning: {error}; the looks are taken anew from the records")
            return None

    def _outcomes(self, progress: StageProgress, records: Mapping[str, Record]) -> Callable[[str, int], float | None]:
        keys = {(run.arm, run.block): key for key, run in progress.runs.items()}

        def outcome(arm: str, block: int) -> float | None:
            record = records.get(keys[arm, block])
            if record is None or not record.state.final:
                return None
            value = record.last(self._objective.metric) if record.state is State.COMPLETE else None
            return math.nan if value is None else value

        return outcome

    def _tell(
        self, course: _Course, plan: StagePlan, kept: Sequence[TakenLook], outcome: Callable[[str, int], float | None]
    ) -> None:
        """Tell the looks that are new, and where what is kept is not what the records give."""
        assert course.now is not None
        assert plan.looks is not None
        if course.said < len(kept):
            for line in _disagreements(kept, course.now.taken, plan.baseline, outcome):
                self._say(f"warning: {plan.stage}: {line}")
            course.said = len(kept)
        for look in course.now.taken[course.said :]:
            self._say(f"{plan.stage}: {look_line(look, len(plan.looks.seeds))}")
        course.said = max(course.said, len(course.now.taken))


def _same_boundaries(registered: Looks, now: Looks) -> bool:
    """Whether two rules differ in nothing but their futility, which enters no boundary."""
    return (registered.seeds, registered.spending, registered.alpha) == (now.seeds, now.spending, now.alpha)


def _described(looks: Looks) -> str:
    return f"[{', '.join(map(str, looks.seeds))}] ({looks.spending})"


def _disagreements(
    kept: Sequence[TakenLook],
    now: Sequence[TakenLook],
    baseline: str,
    outcome: Callable[[str, int], float | None],
) -> Iterator[str]:
    """What of the kept looks is not as the records give it."""
    for before, after in zip(kept, now, strict=False):
        for arm, was in before.arms.items():
            decision = after.arms[arm].decision if arm in after.arms else "no decision"
            if decision != was.decision:
                yield f"look {before.number} decided '{was.decision}' of {arm}; the same differences give '{decision}'"
            values = {block: (outcome(arm, block), outcome(baseline, block)) for block in was.differences}
            if any(_differs(was.differences[block], *pair) for block, pair in values.items()):
                yield f"look {before.number} used other values of {arm} than the records hold; its decision stands"


def _differs(kept: float, arm: float | None, baseline: float | None) -> bool:
    return arm is not None and baseline is not None and arm - baseline != kept
