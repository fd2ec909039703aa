"""MLflow's end is prepared while the last trials run, where no other round can follow."""

from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.launch.execution import LastTrials
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Objective

RUNNING = Record(Planned("search-0001", "search", 1, {}, {}))
ENDED = RUNNING.ended(State.COMPLETE)


class Tracker:
    def __init__(self) -> None:
        self.prepared = 0

    def expect_end(self, _best: object) -> None:
        self.prepared += 1


def last_trials(*, stage: str = "search", compared: tuple[str, ...] = (), **plan: Any) -> tuple[LastTrials, Tracker]:
    """What is told of the trials of a stage of a study that searches and compares."""
    objectives = (Objective(metric="val/miou", mode="max"),)
    spec = SimpleNamespace(objectives=objectives, searched=True, compares=lambda stage: stage in compared)
    plans = {stage: SimpleNamespace(**{"looks": None, "design": "one_factor", **plan})} if stage in compared else {}
    opened = SimpleNamespace(study=SimpleNamespace(spec=spec), stages=SimpleNamespace(plans=plans, known=[]))
    current = SimpleNamespace(stage=stage, label="", planner=SimpleNamespace(exhausted=True))
    tracker = Tracker()
    return LastTrials(opened, current, tracker), tracker  # type: ignore[arg-type]


def test_it_is_prepared_once_when_a_slot_falls_idle() -> None:
    listener, tracker = last_trials()
    listener.current.planner.exhausted = False  # type: ignore[misc]
    listener.update(ENDED)
    listener.current.planner.exhausted = True  # type: ignore[misc]
    listener.update(RUNNING)
    assert tracker.prepared == 0
    for _ in range(2):
        listener.update(ENDED)
    assert tracker.prepared == 1


@pytest.mark.parametrize(
    ("stage", "compared", "plan", "prepared"),
    [
        ("search", ("confirm",), {}, 0),
        ("confirm", ("confirm",), {}, 1),
        ("confirm", ("confirm", "ablation"), {}, 0),
        ("ablation", ("ablation",), {"looks": object()}, 0),
        ("ablation", ("ablation",), {"design": "path"}, 0),
    ],
)
def test_it_is_not_prepared_before_the_last_round(
    stage: str, compared: tuple[str, ...], plan: dict[str, Any], prepared: int
) -> None:
    listener, tracker = last_trials(stage=stage, compared=compared, **plan)
    listener.update(ENDED)
    assert tracker.prepared == prepared


def test_the_prefixes_of_a_stage_are_not_its_last_round() -> None:
    listener, tracker = last_trials()
    listener.current.label = "prefix"  # type: ignore[misc]
    listener.update(ENDED)
    assert tracker.prepared == 0
